"""Addresses of engines: what is read from a URL, and the paths asked there."""

import pytest

from nimctl.core.engine_address import EngineAddress, parse_engine_url

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("url", "shown", "host", "chat", "health"),
    [
        ("http://10.0.0.5:8000", "http://10.0.0.5:8000", "10.0.0.5:8000", CHAT, "/health"),
        ("http://e:8000/v1/", "http://e:8000", "e:8000", CHAT, "/health"),
        ("http://e", "http://e", "e", CHAT, "/health"),
        ("https://e:443", "https://e", "e", CHAT, "/health"),
        ("https://e/api/v1", "https://e/api/v1", "e", "/api" + CHAT, "/api/health"),
        ("https://e/paas/v4", "https://e/paas/v4", "e", "/paas/v4/chat/completions", None),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000", CHAT, "/health"),
        ("unix:/run/e.sock", "unix:/run/e.sock", "localhost", CHAT, "/health"),
        ("unix:///run/e.sock", "unix:/run/e.sock", "localhost", CHAT, "/health"),
    ],
)
def test_what_an_openai_client_takes_as_its_base(url, shown, host, chat, health):
    address = parse_engine_url(url)
    assert (str(address), address.host_header, address.target(CHAT)) == (shown, host, chat)
    assert health is None or address.target("/health") == health
    assert address.tls == url.startswith("https:")


@pytest.mark.parametrize(
    "url",
    [
        "e:8000",
        "ftp://e",
        "https://",
        "https://user:secret@e",
        "https://e/v1?key=secret",
        "https://e/v1#secret",
        "https://e/a/../v1",
        "https://e/a%2fb",
        "https://e/a b",
        "http://e:99999",
        "http://e\r\nx: y/",
        "unix:relative.sock",
    ],
)
def test_addresses_that_are_none(url):
    with pytest.raises(ValueError) as caught:
        parse_engine_url(url)
    assert "secret" not in str(caught.value)


def test_what_is_near():
    assert all(parse_engine_url(url).is_local for url in ("unix:/e", "http://localhost:1"))
    assert not parse_engine_url("http://192.0.2.1:8000").is_local


def test_the_key_is_not_shown():
    address = EngineAddress(host="e", port=1, authorization="Bearer sk-1")
    assert "sk-1" not in f"{address} {address!r}"
