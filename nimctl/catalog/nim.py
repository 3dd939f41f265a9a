"""What NIM's own manifests say, of either schema, before it is held against what nimctl knows."""

from dataclasses import dataclass

from nimctl.core.source import Digest, SourceUri

ENGINE_FOLDER = "trtllm_engine"
"""Where a workspace has a built TensorRT-LLM engine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NimFile:
    """One file of a profile's workspace.

    Attributes:
        path: Where it shall lie in the workspace.
        uri: Where it is published; None where the manifest does not say.
        size_bytes: None in NIM's own manifests; nimctl writes it as an extra key.
        digest: The `sha256` or `checksum` key, where it is one nimctl can check.
    """

    path: str
    uri: SourceUri | None
    size_bytes: int | None = None
    digest: Digest | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NimProfile:
    """One profile as NIM describes it; a tag that is not there is None.

    Attributes:
        id: NIM's id: a hash nimctl cannot recompute, sometimes a UUID or a word.
        line: Where it begins in its file.
        tags: All tags as they are written, sorted by name; those nimctl does not know too.
        engine: `llm_engine`, or the older `model_type` or `backend`, in lower case.
        goal: `profile`: what it is tuned for.
        gpu_device: PCI device and vendor, e.g. `2330:10de`.
        buildable: Whether TensorRT-LLM builds its engine on the spot from the published weights.
        min_vram_gb: `min_vram_per_device_gb`, of each GPU, in the unit of NIM's own listing.
        files: The workspace; empty where the profile brings no files of its own.
    """

    id: str
    line: int
    tags: tuple[tuple[str, str], ...]
    engine: str | None
    precision: str | None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    goal: str | None = None
    lora: bool = False
    buildable: bool = False
    gpu: str | None = None
    gpu_device: str | None = None
    min_vram_gb: float | None = None
    files: tuple[NimFile, ...] = ()

    @property
    def description(self) -> str:
        """NIM's readable name, e.g. `tensorrt_llm-trtllm_buildable-bf16-tp8-pp2`.

        A tag that is not there leaves no part: profiles of the multi-LLM image are just `vllm`.
        """
        written = {name for name, _ in self.tags}
        parts = [
            self.engine,
            self.gpu.lower() if self.gpu else None,
            "trtllm_buildable" if self.buildable else None,
            self.precision,
            f"tp{self.tensor_parallel}" if "tp" in written else None,
            f"pp{self.pipeline_parallel}" if "pp" in written else None,
            self.goal,
            "lora" if self.lora else None,
            None if self.min_vram_gb is None else f"{self.min_vram_gb:.1f}",
        ]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True, slots=True)
class NimManifest:
    """A whole NIM manifest.

    Attributes:
        model: `publisher/name` in lower case.
        origin: The file it was read from.
        overrides: Whether it says, as a key that is nimctl's own, that it takes the place of the
            same model in an earlier folder.
    """

    model: str
    origin: str
    profiles: tuple[NimProfile, ...]
    overrides: bool = False


def is_engine_file(path: str) -> bool:
    """Whether a file of a workspace is part of a built TensorRT-LLM engine."""
    return path.startswith(f"{ENGINE_FOLDER}/") or path.endswith(".engine")
