"""What a statement says of files, and that nothing contradictory is believed."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimctl.core.model_signature import (
    EARLY_PREDICATE_TYPE,
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    ModelSignatureError,
    make_signature,
    make_statement,
    parse_signature,
    parse_statement,
)

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
FILES = st.dictionaries(st.text("abc/.", min_size=1, max_size=9), DIGESTS, min_size=1, max_size=6)


@given(FILES, st.binary(max_size=80))
def test_what_is_signed_is_read_back(files, signature):
    payload = make_statement("toy", files)
    envelope = parse_signature(make_signature(payload, signature, b"pem"))
    assert (envelope.payload, envelope.signatures) == (payload, (signature,))
    signed = parse_statement(envelope.payload)
    assert signed.sha256 == files
    assert signed.find_stranger(files) is None
    assert signed.find_missing(files) is None
    first = min(files)
    assert signed.find_missing(files.keys() - {first}) == first
    assert "0" * 63 in str(signed.find_stranger({first: "0" * 63 + "x"}))


def test_a_signature_and_git_files_beside_the_model_need_not_be_signed():
    signed = parse_statement(make_statement("toy", {"a": "0" * 64}))
    unsigned = {"model.sig": "1" * 64, ".gitattributes": "1" * 64, ".git/config": "1" * 64}
    assert signed.find_stranger(unsigned) is None
    assert "model.sigh" in str(signed.find_stranger({"model.sigh": "1" * 64}))


def test_a_statement_from_before_the_first_release_is_read():
    subject = [{"name": "a", "digest": {"sha256": "0" * 64}}]
    early = {"_type": STATEMENT_TYPE, "predicateType": EARLY_PREDICATE_TYPE, "subject": subject}
    assert parse_statement(json.dumps(early).encode()).sha256 == {"a": "0" * 64}


def changed(**members):
    statement = json.loads(make_statement("toy", {"a": "0" * 64}))
    predicate = statement["predicate"]
    for name, value in members.items():
        place = predicate if name in predicate else statement
        place[name] = value
    return json.dumps(statement).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        changed(_type="https://in-toto.io/Statement/v0.1"),
        changed(predicateType="https://example/other"),
        changed(subject=[]),
        changed(subject=[{"name": "toy", "digest": {"sha256": "0" * 64}}]),
        changed(resources=[]),
        changed(resources=[{"name": "a", "algorithm": "blake3", "digest": "0" * 64}]),
        changed(resources=[{"name": "a", "algorithm": "sha256", "digest": "no hex"}]),
        changed(serialization={"method": "shards", "hash_type": "sha256"}),
        json.dumps({"_type": STATEMENT_TYPE, "predicateType": PREDICATE_TYPE}).encode(),
    ],
)
def test_what_cannot_be_checked_is_refused(payload):
    with pytest.raises(ModelSignatureError):
        parse_statement(payload)


@pytest.mark.parametrize(
    "envelope",
    [
        {"payloadType": "text/plain", "payload": "", "signatures": []},
        {"payloadType": "application/vnd.in-toto+json", "payload": "*", "signatures": []},
        {"payloadType": "application/vnd.in-toto+json", "payload": ""},
        {"payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": [1]},
        [],
    ],
)
def test_what_is_no_signature_is_refused(envelope):
    with pytest.raises(ModelSignatureError):
        parse_signature(json.dumps({"dsseEnvelope": envelope}).encode())


def test_the_bytes_that_are_signed_are_those_of_dsse():
    envelope = parse_signature(make_signature(b"hello", b"", b""))
    head = b"DSSEv1 28 application/vnd.in-toto+json 5 hello"
    assert envelope.signed[0] == head
    assert base64.b64encode(envelope.payload) == b"aGVsbG8="
