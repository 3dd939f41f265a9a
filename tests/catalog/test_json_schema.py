"""The schema for editors: as the models are now, and a judge that agrees with the parser."""

import json
from typing import Any

import pytest
from manifest_files import MANIFEST

from nimctl.catalog import shipped_manifest_dir
from nimctl.catalog.document import read_document
from nimctl.catalog.json_schema import SCHEMA_FILE, make_json_schema, render_json_schema
from nimctl.catalog.parse import parse_manifest
from nimctl.errors import ManifestError

MANIFESTS = sorted(shipped_manifest_dir().rglob("*.yaml"))


def find_faults(text: str) -> list[str]:
    """What an editor would underline."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(make_json_schema())
    return [fault.json_path for fault in validator.iter_errors(read_document(text).value)]


def test_the_shipped_schema_has_not_drifted():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == render_json_schema(), (
        "run `python -m nimctl.catalog.json_schema`"
    )


def test_the_schema_is_a_schema():
    pytest.importorskip("jsonschema").Draft202012Validator.check_schema(make_json_schema())


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_shipped_manifest_is_accepted(path):
    assert find_faults(path.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("schema: nimctl-manifest/1", "schema: nimctl-manifest/9", "$.schema"),
        ("title: Acme", "titel: Acme", "$"),
        ("model: acme", "model: Acme", "$.model"),
        ("parameters: 8_030_261_248", "parameters: -5", "$.shape.parameters"),
        ("hidden_size: 4096", "hidden_size: '4096'", "$.shape.hidden_size"),
        ("format: gguf", "format: ggml", "$.artifacts.q4_k_m.format"),
        ("engine: llama.cpp", "engine: mlc", "$.profiles[2].engine"),
        ("[latency", "[latecy", "$.profiles[1].goal"),
        ("precision: q4_k_m", "precision: Q4", "$.profiles[2].precision"),
        ("precision: q4_k_m", "precision: []", "$.profiles[2].precision"),
        ("head_dim: 128", "head_dims: 128", "$.shape.kv"),
        ("[1, 2]", "0", "$.profiles[0].tensor_parallel"),
        ("weight_bytes: 4_912_898_048", "", "$.artifacts.q4_k_m"),
    ],
)
def test_a_fault_in_one_value_is_seen_where_it_is(old, new, place):
    text = MANIFEST.replace(old, new, 1)
    assert text != MANIFEST
    assert place in find_faults(text)
    with pytest.raises(ManifestError):
        parse_manifest(text.encode(), origin="m.yaml", model="acme/llama-8b")


@pytest.mark.parametrize(
    "change",
    [
        ("8_030_261_248", "'8_030_261_248'"),
        ("[1, 2]", "2"),
        ("goal: [latency, throughput]", "goal: latency"),
        ("kv: {layers: 32, kv_heads: 8, head_dim: 128}", "kv: [{layers: 2, width: 576}]"),
        ("kv: {layers: 32, kv_heads: 8, head_dim: 128}", "kv: {layers: 2, state_bytes: 5}"),
    ],
)
def test_other_ways_to_write_a_value_are_no_faults(change):
    """The first is how an editor reads a number with underscores: as text."""
    assert find_faults(MANIFEST.replace(*change)) == []


def test_keys_carry_the_words_of_the_core():
    properties: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())["$defs"]["ShapeEntry"]
    words = properties["properties"]["attention_heads"]["description"]
    assert words == "Query heads, which tensor parallelism must divide."
