"""The keys of a manifest file and the values each may have, as strict pydantic models."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeInt,
    PlainValidator,
    PositiveInt,
    Tag,
    model_validator,
)

from nimctl.core.manifest import ModelKind, WeightFormat
from nimctl.core.names import EngineName, Goal
from nimctl.core.source import (
    Digest,
    SourceUri,
    check_relative_path,
    parse_digest,
    parse_source_uri,
)

_Item = TypeVar("_Item")


def _spelled(pattern: str, words: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {words}")
        return value

    return AfterValidator(check)


def _parsed(parse: Callable[[str], object]) -> PlainValidator:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("must be text")
        return parse(value)

    return PlainValidator(read)


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


Text = Annotated[str, Field(min_length=1)]
ModelName = Annotated[
    str, _spelled(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*", "`publisher/name` in lower case")
]
Precision = Annotated[
    str, _spelled(r"[a-z][a-z0-9_]*", "a precision in lower case, such as q4_k_m")
]
PciDevice = Annotated[
    str, _spelled(r"[0-9a-f]{4}:[0-9a-f]{4}", "a PCI device and vendor, such as 2330:10de")
]
RelativePath = Annotated[str, AfterValidator(check_relative_path)]
Source = Annotated[SourceUri, _parsed(parse_source_uri)]
PublishedDigest = Annotated[Digest, _parsed(parse_digest)]
OneOrMany = Annotated[list[_Item], BeforeValidator(_as_list), Field(min_length=1, max_length=16)]


class Strict(BaseModel):
    """An entry without room for unknown keys or values of a neighbouring type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class KvEntry(Strict):
    """Layers that keep keys and values by head."""

    layers: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    value_dim: PositiveInt | None = None
    window: PositiveInt | None = None


class LatentEntry(Strict):
    """Layers that keep one compressed vector a token."""

    layers: PositiveInt
    width: PositiveInt
    index_bytes: NonNegativeInt = 0


class StateEntry(Strict):
    """Layers that keep a state of fixed size for each sequence."""

    layers: PositiveInt
    state_bytes: PositiveInt


_BY_HEAD = "(by head)"
CACHE_ENTRIES: dict[str, type[Strict]] = {
    _BY_HEAD: KvEntry,
    "(latent)": LatentEntry,
    "(state)": StateEntry,
}
"""The kinds of layers by the names that stand in pydantic's locations, which no key can have."""


def _tell_cache_kind(value: object) -> str:
    """The kind whose own key is written, if only nearly; else keys and values by head."""
    written = list(value) if isinstance(value, dict) else []
    if "kv_heads" not in written:
        for kind, key in (("(latent)", "width"), ("(state)", "state_bytes")):
            if get_close_matches(key, written, cutoff=0.75):
                return kind
    return _BY_HEAD


CacheEntry = Annotated[
    Annotated[KvEntry, Tag(_BY_HEAD)]
    | Annotated[LatentEntry, Tag("(latent)")]
    | Annotated[StateEntry, Tag("(state)")],
    Discriminator(_tell_cache_kind),
]


class ShapeEntry(Strict):
    """The numbers that decide how much memory a model takes."""

    architecture: Text
    parameters: PositiveInt
    active_parameters: PositiveInt | None = None
    hidden_size: PositiveInt
    feed_forward_size: PositiveInt | None = None
    expert_size: PositiveInt | None = None
    attention_heads: PositiveInt
    vocab_size: PositiveInt
    max_context_length: PositiveInt
    kv: OneOrMany[CacheEntry]

    @model_validator(mode="after")
    def _agrees(self) -> "ShapeEntry":
        for heads in self.kv_heads:
            if self.attention_heads % heads:
                raise ValueError(
                    f"{self.attention_heads} attention heads do not divide over "
                    f"{heads} key/value heads"
                )
        if (self.active_parameters or 0) > self.parameters:
            raise ValueError("active_parameters are more than all parameters")
        return self

    @property
    def kv_heads(self) -> tuple[int, ...]:
        """How many key/value heads each group of layers has that keeps any."""
        return tuple(group.kv_heads for group in self.kv if isinstance(group, KvEntry))


class FileEntry(Strict):
    """A published file; `path` may be left out where the source names one file."""

    path: RelativePath | None = None
    size_bytes: PositiveInt
    digest: PublishedDigest


class ArtifactEntry(Strict):
    """A set of weights, gated as the model is unless it says otherwise.

    Pinned files say by themselves how much there is to download.
    """

    source: Source
    format: WeightFormat
    include: list[Text] = []
    files: list[FileEntry] = []
    gated: bool | None = None
    scale_block: PositiveInt | None = None
    kv_precision: Precision | None = None
    weight_bytes: PositiveInt
    download_bytes: PositiveInt | None = None

    @model_validator(mode="after")
    def _agrees(self) -> "ArtifactEntry":
        if self.download_bytes is None and not self.files:
            raise ValueError("download_bytes is missing, and no files are pinned to add it up from")
        for file in self.files:
            if file.path is None and self.source.file is None:
                raise ValueError("a file has no path, and the source names none")
            if None not in (file.path, self.source.file) and file.path != self.source.file:
                raise ValueError(f"the source names {self.source.file}, the files {file.path}")
        return self


class ProfileEntry(Strict):
    """Ways to run the model: every combination of the lists is one profile."""

    engine: EngineName
    precision: OneOrMany[Precision]
    artifact: Text | None = None
    tensor_parallel: OneOrMany[PositiveInt] = [1]
    pipeline_parallel: OneOrMany[PositiveInt] = [1]
    goal: OneOrMany[Goal] | None = None
    lora: OneOrMany[bool] = [False]
    gpu: Text | None = None
    gpu_device: PciDevice | None = None

    @model_validator(mode="after")
    def _names_gpu_fully(self) -> "ProfileEntry":
        if (self.gpu is None) != (self.gpu_device is None):
            raise ValueError("gpu and gpu_device belong together")
        return self


class ManifestFile(Strict):
    """A whole manifest file."""

    schema_name: str = Field(alias="schema")
    model: ModelName
    title: Text
    licence: Text
    kind: ModelKind = "chat"
    gated: bool = False
    overrides: bool = False
    aliases: list[Text] = []
    facts: dict[str, Text] = {}
    shape: ShapeEntry
    artifacts: Annotated[dict[str, ArtifactEntry], Field(min_length=1)]
    profiles: Annotated[list[ProfileEntry], Field(min_length=1)]


def find_entry(location: tuple[str | int, ...]) -> type[Strict]:
    """The entry that the last key of a pydantic location is a key of."""
    match location:
        case ("shape", _):
            return ShapeEntry
        case ("shape", "kv", _, str(kind), _):
            return CACHE_ENTRIES[kind]
        case ("artifacts", _, _):
            return ArtifactEntry
        case ("artifacts", _, "files", _, _):
            return FileEntry
        case ("profiles", _, _):
            return ProfileEntry
    return ManifestFile


def list_keys(entry: type[Strict]) -> list[str]:
    """The keys an entry may have, as they are written in the file."""
    fields: dict[str, Any] = entry.model_fields
    return [field.alias or name for name, field in fields.items()]
