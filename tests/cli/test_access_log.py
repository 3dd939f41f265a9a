"""What of a request is logged at which level."""

import json
from dataclasses import replace

import pytest

from nimctl.cli.access_log import describe_request, make_access_log, request_document
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
REQUESTS = {
    "answered": ANSWERED,
    "probe": replace(ANSWERED, path="/v1/health/ready"),
    "refused": replace(ANSWERED, status=401),
    "left": replace(ANSWERED, status=499, cut_by="client"),
    "failed": replace(ANSWERED, status=502),
}


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", {"answered", "probe", "refused", "left", "failed"}),
        ("info", {"answered", "refused", "left", "failed"}),
        ("warning", {"refused", "left", "failed"}),
        ("error", {"failed"}),
    ],
)
def test_each_level_tells_of_its_requests(level, told, capsys):
    seen = set()
    for name, record in REQUESTS.items():
        make_access_log(level, "text")(record)
        if capsys.readouterr().err:
            seen.add(name)
    assert seen == told


def test_a_line_tells_what_an_operator_needs():
    line = describe_request(replace(ANSWERED, cut_by="engine", key_name="keys:2"))
    assert line == (
        "POST /v1/chat/completions 200, in 1.5 s, first byte after 120 ms, 2.0 kB, "
        "cut short by the engine, key keys:2 [abc]"
    )


def test_json_has_the_field_names_of_nim_and_one_line_a_request(capsys):
    make_access_log("info", "json")(replace(REQUESTS["left"], key_name="alice"))
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    document = json.loads(line)
    assert list(document)[:7] == [
        *("level", "time", "file_path", "line_number", "message", "exc_info", "stack_info"),
    ]
    assert (document["level"], document["status"]) == ("WARNING", 499)
    assert (document["cut_by"], document["key_name"]) == ("client", "alice")


def test_time_is_told_with_its_zone():
    assert request_document(ANSWERED, 0.0)["time"] == "1970-01-01T00:00:00.000+00:00"
