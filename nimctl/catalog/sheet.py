"""What the catalogue keeps of one model: what can be judged of it, or why nothing can."""

from dataclasses import dataclass

from nimctl.catalog.nim import NimManifest
from nimctl.core.manifest import LeftOutProfile, Manifest
from nimctl.core.source import SourceUri
from nimctl.errors import ManifestError

MAX_BYTES = 8 * 1024 * 1024
"""A larger file is no manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestSheet:
    """What is known of one model.

    Attributes:
        aliases: Other names people type for the model.
        overrides: Whether it takes the place of the same model in an earlier folder.
    """

    manifest: Manifest
    aliases: tuple[str, ...] = ()
    overrides: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class UnjudgedModel:
    """A model of which a NIM manifest is all that is known, and that says too little of it.

    Attributes:
        nim: Its manifest.
        reason: What is not known and what follows of it, a sentence.
        left_out: Its profiles, each with the reason why it cannot be judged.
        places: Where its config may be read, the likeliest first.
    """

    nim: NimManifest
    reason: str
    left_out: tuple[LeftOutProfile, ...]
    places: tuple[SourceUri, ...]

    @property
    def model(self) -> str:
        """`publisher/name`."""
        return self.nim.model


class UnjudgedModelError(ManifestError):
    """A model was named that cannot be judged by its manifest alone.

    Attributes:
        unjudged: What is known of it.
    """

    def __init__(self, unjudged: UnjudgedModel, *, hint: str | None = None) -> None:
        own_words = (
            f"describe it in a nimctl manifest, {unjudged.model}.yaml of the same folder, and say "
            "`overrides: true` in NIM's"
        )
        hint = f"{hint}; or {own_words}" if hint else own_words
        super().__init__(f"{unjudged.model}: {unjudged.reason}", hint=hint)
        self.unjudged = unjudged
