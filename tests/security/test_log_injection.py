"""Nothing that a caller sends forges a line of the log, or shows in it what is secret."""

from dataclasses import replace

import pytest

from nimctl.cli.access_log import make_access_log
from nimctl.server import AccessRecord

ANSWERED = AccessRecord(
    method="POST",
    path="/v1/chat/completions",
    status=200,
    duration_s=1.5,
    sent_bytes=2048,
    request_id="abc",
    first_byte_s=0.12,
    cut_by=None,
    key_name=None,
)


@pytest.mark.parametrize("form", ["text", "json"])
def test_path_of_a_caller_cannot_forge_a_line(form, capsys):
    path = "/v1/x\r\n12:00:00 GET /fine 200\x1b[2J\u2028"
    make_access_log("info", form)(replace(ANSWERED, path=path))
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "path",
    [b"/v1/x\xe2\x80\xa8y", b"/\x9b2Jx", b"/v1/%0d%0aGET", b"/a\xc2\x85b", b"/{0}%s"],
    ids=["line separator", "control sequence", "escaped", "next line", "formats"],
)
def test_line_of_a_request_is_one_line(form, path, gateway, raw, capsys):
    gateway.exchange(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    [record] = raw.until(lambda: gateway.records)
    make_access_log("info", form)(record)
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1
    assert line.rstrip("\n").isprintable()


def test_request_id_of_a_caller_is_a_word(gateway, raw):
    gateway.exchange(
        raw.get("/v1/version", headers=("X-Request-Id: a] forged [b", "Connection: close"))
    )
    [record] = raw.until(lambda: gateway.records)
    assert "forged" not in record.request_id


def test_access_record_tells_no_query_and_no_prompt(gateway, raw):
    gateway.exchange(raw.post("/v1/completions?secret=1", headers=["Connection: close"]))
    [record] = raw.until(lambda: gateway.records)
    assert (record.method, record.path, record.status) == ("POST", "/v1/completions", 200)
    assert record.sent_bytes > 100
    assert 0.01 < record.first_byte_s <= record.duration_s < 5
    assert "secret" not in repr(record)
