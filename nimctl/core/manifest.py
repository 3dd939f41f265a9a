"""What is published of a model: its shape, its files, and the profiles that can run it."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from nimctl.core.names import EngineName, Goal
from nimctl.core.source import PinnedFile, SourceUri
from nimctl.errors import InputError

WeightFormat = Literal["safetensors", "gguf", "tensorrt_engine"]
ModelKind = Literal["chat", "embedding", "reward"]

_SHORTEST_PREFIX = 6
_MOST_NAMED = 5
_MEMORY_SUFFIX = re.compile(r"-\d+(?:\.\d+)?$")
_WIDTH_ALONE = re.compile(r"(-tp\d+)(?!-pp\d)")
_WORD = re.compile(r"[\w.-]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class KvLayers:
    """Layers that keep keys and values by head, all alike.

    Attributes:
        layers: How many such layers.
        kv_heads: Heads that keep keys and values (grouped-query attention has fewer than heads).
        head_dim: Width of one key.
        value_dim: Width of one value; None where it is that of a key.
        window: Tokens a layer of sliding or chunked attention needs; None needs all. Whether an
            engine lets go of the others is its own (`MemoryTraits.window_spare`).
    """

    layers: int
    kv_heads: int
    head_dim: int
    value_dim: int | None = None
    window: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentLayers:
    """Layers of multi-head latent attention: one compressed vector a token, whole on every GPU.

    Attributes:
        width: Elements of that vector, `kv_lora_rank + qk_rope_head_dim`.
        index_bytes: Bytes a token of a sparse-attention index keeps beside it, in the index's own
            precision.
    """

    layers: int
    width: int
    index_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StateLayers:
    """Layers of linear attention or state space: a state of fixed size for each sequence.

    Attributes:
        state_bytes: Bytes of one layer's state of one sequence.
    """

    layers: int
    state_bytes: int


CacheLayers = KvLayers | LatentLayers | StateLayers


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The numbers of a model that decide how much memory it takes.

    Attributes:
        architecture: The class name in its published config, e.g. `LlamaForCausalLM`.
        parameters: Number of weights.
        active_parameters: Weights that one token passes through; None where it is all of them.
        hidden_size: Width of the residual stream.
        feed_forward_size: Width of the widest feed-forward layer; None where it is not known.
        expert_size: Width of one routed expert, where that is another.
        attention_heads: Query heads, which tensor parallelism must divide.
        vocab_size: Rows of the embedding.
        max_context_length: Tokens the model was published for.
        kv: Groups of layers by what they keep of the tokens before.
    """

    architecture: str
    parameters: int
    active_parameters: int | None = None
    hidden_size: int
    feed_forward_size: int | None = None
    expert_size: int | None = None
    attention_heads: int
    vocab_size: int
    max_context_length: int
    kv: tuple[CacheLayers, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Files of an artifact that are published in one place.

    Attributes:
        source: Where they are published.
        include: Patterns of the paths to bring; empty brings what is pinned, or all.
        files: Files fixed by digest, under the paths they are published at.
        folder: Where they shall lie in the folder an engine opens; empty is its top.
    """

    source: SourceUri
    include: tuple[str, ...] = ()
    files: tuple[PinnedFile, ...] = ()
    folder: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One published set of weights.

    Attributes:
        name: Its name inside the manifest.
        source: Where it is published; of several places the one of the weights.
        format: What kind of files hold the weights.
        include: Patterns of the paths to bring; empty brings what is pinned, or all.
        files: Files fixed by digest.
        gated: Whether its publisher wants a login and an accepted licence.
        scale_block: Edge of the blocks of weights that share one scale; None where they are no
            blocks.
        kv_precision: What its publisher declares for keys and values, e.g. `fp8`, which engines
            follow unless told otherwise; None leaves them as the engine keeps them.
        weight_bytes: Bytes of all tensors, as they lie in memory.
        download_bytes: Bytes to bring.
        parts: All its files by place, where an engine needs those of several places, or wants
            them in folders of their own; `include` and `files` are empty then. Empty where
            everything comes from `source` and lies as it is published.
    """

    name: str
    source: SourceUri
    format: WeightFormat
    include: tuple[str, ...] = ()
    files: tuple[PinnedFile, ...] = ()
    gated: bool = False
    scale_block: int | None = None
    kv_precision: str | None = None
    weight_bytes: int
    download_bytes: int
    parts: tuple[Part, ...] = ()

    @property
    def places(self) -> tuple[Part, ...]:
        """Its files by the place they come from, be it one or several."""
        whole = Part(source=self.source, include=self.include, files=self.files)
        return self.parts or (whole,)

    @property
    def single_file(self) -> str | None:
        """The one file an engine opens, where the weights are one file and not a folder."""
        if self.format != "gguf":
            return None
        return self.files[0].path if self.files else self.source.file


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One way to run a model: an engine, a precision, a number of GPUs, and the weights for it.

    Attributes:
        id: sha256 of the canonical content, 64 hex digits.
        goal: What the engine is tuned for; None where it makes no difference.
        lora: Whether it serves LoRA adapters.
        gpu: Short name of the GPU it was built for; None runs on any.
        gpu_device: PCI device and vendor of that GPU, e.g. `2330:10de`.
    """

    id: str
    engine: EngineName
    precision: str
    artifact: Artifact
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    goal: Goal | None = None
    lora: bool = False
    gpu: str | None = None
    gpu_device: str | None = None

    @property
    def gpu_count(self) -> int:
        """GPUs it takes where it runs on GPUs."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def description(self) -> str:
        """NIM's readable name, e.g. `tensorrt_llm-h100-fp8-tp2-pp1-latency`."""
        parts = [
            self.engine,
            self.gpu.lower() if self.gpu else None,
            self.precision,
            f"tp{self.tensor_parallel}",
            f"pp{self.pipeline_parallel}",
            self.goal,
            "lora" if self.lora else None,
        ]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOutProfile:
    """A published profile that no profile of nimctl's own can stand for.

    Attributes:
        place: `file:line` of it.
        id: The publisher's id.
        description: The publisher's readable name, e.g. `sglang-bf16-tp1-pp1`; may be empty.
        reason: Why it was left out, as the end of a sentence.
    """

    place: str
    id: str
    description: str
    reason: str

    @property
    def name(self) -> str:
        """What to call it: the beginning of its id, and its description."""
        return f"{self.id[:12]} ({self.description or 'without tags'})"

    def __str__(self) -> str:
        return f"{self.place}: profile {self.name} is left out: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One model and everything published of it that nimctl can run.

    Attributes:
        model: `publisher/name`, lower case.
        title: The publisher's own spelling.
        licence: SPDX identifier or the licence's own name.
        gated: Whether the publisher wants a login and an accepted licence; another publisher's
            artifact of the model may be open.
        origin: The file it was read from.
        kind: What it gives: text, a vector for a text, or a score.
        left_out: Published profiles that nimctl cannot read or run, with the reasons.
    """

    model: str
    title: str
    licence: str
    gated: bool
    shape: Shape
    profiles: tuple[Profile, ...]
    origin: str
    kind: ModelKind = "chat"
    left_out: tuple[LeftOutProfile, ...] = ()

    @property
    def short_name(self) -> str:
        """The name without its publisher."""
        return self.model.partition("/")[2]


def profile_id(
    *,
    model: str,
    engine: str,
    precision: str,
    artifact: Artifact,
    tensor_parallel: int,
    pipeline_parallel: int,
    goal: str | None,
    lora: bool,
    gpu_device: str | None,
) -> str:
    """The sha256 of what makes a profile itself: what runs, how, and from which files."""
    content = {
        "model": model,
        "engine": engine,
        "precision": precision,
        "tensor_parallel": tensor_parallel,
        "pipeline_parallel": pipeline_parallel,
        "goal": goal,
        "lora": lora,
        "gpu_device": gpu_device,
        "source": str(artifact.source),
        "include": sorted(artifact.include),
        "files": sorted(f"{file.digest} {file.path}" for file in artifact.files),
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def find_profile(manifest: Manifest, text: str) -> Profile:
    """The profile that a user means by `text`; case does not matter.

    Accepted: a whole id, of whatever form; the unique beginning of one (6 characters or more); a
    description in nimctl's spelling or in any of NIM's (`vllm-fp16-tp2`, `vllm-bf16-tp1-pp1-27.0`,
    `...-feat_lora`); a whole line of a listing of nimctl's or NIM's, in which an id counts before a
    description.

    Raises:
        InputError: nothing matches, or several profiles do; names the candidates or the nearest.
    """
    words = [word.strip(".-") for word in _WORD.findall(text.lower())]
    for found in _list_candidates(manifest, text.strip().lower(), words):
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"{text.strip()!r} may be {len(found)} profiles of {manifest.model}: "
                + _list_names([f"{p.id[:12]} ({p.description})" for p in found]),
                hint="give more of the id",
            )
    raise _unknown_profile(manifest, text.strip(), words)


def _list_candidates(manifest: Manifest, wanted: str, words: list[str]) -> Iterator[list[Profile]]:
    """The profiles that may be meant, the surest reading of the text first."""
    yield [p for p in manifest.profiles if p.id.lower() == wanted]
    yield [p for p in manifest.profiles if p.description == wanted]
    yield [p for p in manifest.profiles if any(_names_id(word, p) for word in words)]
    named = {_normalize(word) for word in words}
    yield [p for p in manifest.profiles if _normalize(p.description) in named]


def _names_id(word: str, profile: Profile | LeftOutProfile) -> bool:
    """Whether a word is an id or a beginning of it that is long enough to be meant as one."""
    identity = profile.id.lower()
    return word == identity or (len(word) >= _SHORTEST_PREFIX and identity.startswith(word))


@lru_cache(maxsize=4096)
def _normalize(description: str) -> str:
    """A description without what NIM's spellings differ in from version to version.

    The memory at the end, `trtllm_buildable`, `feat_lora` for `lora`, `-lora` written twice, and
    tensor parallelism without pipeline stages, as before NIM 1.3.
    """
    text = description.replace("feat_lora", "lora").replace("trtllm_buildable-", "")
    text = _WIDTH_ALONE.sub(r"\1-pp1", _MEMORY_SUFFIX.sub("", text))
    return text.replace("-lora-lora", "-lora")


def _list_names(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unknown_profile(manifest: Manifest, text: str, words: list[str]) -> InputError:
    """Why nothing is found: it was left out, or there is no such name and these are the nearest."""
    from difflib import get_close_matches

    for one in manifest.left_out:
        if any(_names_id(word, one) or word == one.description for word in words):
            return InputError(f"profile {one.name} of {manifest.model} is left out: {one.reason}")
    known = {name: p.description for p in manifest.profiles for name in (p.description, p.id[:12])}
    alike = [near for word in words for near in get_close_matches(word, known, n=_MOST_NAMED)]
    nearest = list(dict.fromkeys(known[name] for name in alike))
    return InputError(
        f"{manifest.model} has no profile {text!r}"
        + (f"; nearest: {_list_names(nearest)}" if nearest else ""),
        hint=f"`nimctl list-profiles {manifest.model}` shows ids and descriptions "
        f"(an id may be shortened to {_SHORTEST_PREFIX} digits)",
    )
