"""Writes the JSON schema of nimctl's own manifest format, for editors: completion, help, faults.

    python -m nimctl.catalog.json_schema

writes `manifest.schema.json` beside this module, from the pydantic models that read the files and
the docstrings of what they become; a test fails when the two have drifted apart. An editor with a
YAML language server (VS Code, Neovim, Emacs, and others) uses it by a first line in the manifest,

    # yaml-language-server: $schema=../../nimctl/catalog/manifest.schema.json

or for a whole folder by the setting `"yaml.schemas": {"<schema file>": "manifests/*/*.yaml"}`.
It accepts all that nimctl accepts. Nimctl refuses more, for it holds the parts of a file against
one another.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from nimctl.catalog import schema
from nimctl.catalog.parse import SCHEMA
from nimctl.core import manifest, source

SCHEMA_FILE = Path(__file__).with_name("manifest.schema.json")

# The value of the core that each entry becomes; its attributes are described there.
_BECOMES = {
    "ManifestFile": manifest.Manifest,
    "ShapeEntry": manifest.Shape,
    "KvEntry": manifest.KvLayers,
    "LatentEntry": manifest.LatentLayers,
    "StateEntry": manifest.StateLayers,
    "ArtifactEntry": manifest.Artifact,
    "FileEntry": source.PinnedFile,
    "ProfileEntry": manifest.Profile,
}
_GROUPED = "^[1-9][0-9]*(_[0-9]+)+$"
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n     +.*)*)", re.MULTILINE)


def make_json_schema() -> dict[str, Any]:
    """The schema as plain values."""
    document = schema.ManifestFile.model_json_schema(schema_generator=_Generator)
    document["properties"]["schema"] = {"const": SCHEMA}
    for name, entry in {"ManifestFile": document, **document["$defs"]}.items():
        _describe(entry["properties"], _BECOMES.get(name))
    return {"$schema": GenerateJsonSchema.schema_dialect, **document}


def render_json_schema() -> str:
    """The text of the shipped file."""
    return json.dumps(make_json_schema(), indent=2, sort_keys=True) + "\n"


def _describe(properties: dict[str, Any], becomes: type | None) -> None:
    """Add the attributes' descriptions from the docstring of what an entry becomes."""
    text = inspect.getdoc(becomes) if becomes else None
    for name, words in _ATTRIBUTE.findall(text or ""):
        if name in properties:
            properties[name] = {"description": " ".join(words.split()), **properties[name]}


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, told what the validators of `nimctl.catalog.schema` accept."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: they would repeat the keys."""
        return False

    def int_schema(self, schema: core_schema.IntSchema) -> JsonSchemaValue:
        """`8_030_261_248` is a number to nimctl, but text to an editor's YAML 1.2."""
        return {**super().int_schema(schema), "type": ["integer", "string"], "pattern": _GROUPED}

    def function_plain_schema(
        self, schema: core_schema.PlainValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """An address or a digest, parsed from text."""
        return {"type": "string"}

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """A list of one may be written as its only value."""
        listed = super().function_before_schema(schema)
        return {"anyOf": [listed["items"], listed]} if "items" in listed else listed

    def function_after_schema(
        self, schema: core_schema.AfterValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """Text that must match a pattern, which the validator holds."""
        checked = super().function_after_schema(schema)
        check = schema["function"]["function"]
        held = inspect.getclosurevars(check).nonlocals if inspect.isfunction(check) else {}
        return {**checked, "pattern": f"^({held['pattern']})$"} if "pattern" in held else checked


if __name__ == "__main__":
    SCHEMA_FILE.write_text(render_json_schema(), encoding="utf-8")
