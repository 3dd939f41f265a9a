"""What is known before a fetch: what the cache is asked for, what is here, who may come in."""

from dataclasses import replace
from pathlib import Path

from nimctl.cache import Cache, CacheEntry, FetchRequest, SafetyPolicy
from nimctl.core.manifest import Artifact, Manifest
from nimctl.core.supply import Supply
from nimctl.settings import KEYS, Settings

_HUB = next(key.default for key in KEYS if key.name == "hf_endpoint")


def make_policy(settings: Settings) -> SafetyPolicy:
    """What may be brought beside data."""
    return SafetyPolicy(allow_pickle=settings.allow_pickle, allow_code=settings.trust_remote_code)


def request_files(artifact: Artifact, settings: Settings) -> tuple[FetchRequest, ...]:
    """What the cache is asked for, place by place."""
    return tuple(
        FetchRequest(
            uri=part.source,
            include=part.include,
            pinned=part.files,
            policy=make_policy(settings),
        )
        for part in artifact.places
    )


def find_files(artifact: Artifact, settings: Settings) -> tuple[CacheEntry, ...] | None:
    """What the cache holds of each place; None where something is missing."""
    cache, requests = Cache(settings.cache_dir), request_files(artifact, settings)
    entries = tuple(entry for one in requests if (entry := cache.find(one)))
    return entries if len(entries) == len(artifact.places) else None


def is_in_place(artifact: Artifact) -> bool:
    """Whether the weights are a folder of this machine that needs no check: it is not copied."""
    source = artifact.source
    as_published = not artifact.files and not artifact.parts
    return source.scheme == "file" and as_published and Path(source.location).is_dir()


def read_hub_login() -> str | None:
    """The token that `hf auth login` keeps."""
    from huggingface_hub.constants import HF_TOKEN_PATH

    try:
        return Path(HF_TOKEN_PATH).read_text().strip() or None
    except OSError:
        return None


def read_supplies(manifests: tuple[Manifest, ...], settings: Settings) -> tuple[Supply, ...]:
    """What is known of bringing each model's weights here.

    The disk and the login are looked at once, the cache only for what something speaks against.
    A mirror's gates are its own: nothing is known of them.
    """
    room_bytes = Cache(settings.cache_dir).room_bytes()
    logins = {
        "hf": settings.hf_token
        or settings.hf_endpoint != _HUB
        or _is_mirrored("hf", settings)
        or read_hub_login(),
        "ngc": settings.ngc_api_key or _is_mirrored("ngc", settings),
    }
    unknown = Supply(
        folder=str(settings.cache_dir),
        room_bytes=room_bytes,
        complete=frozenset(),
        logins=frozenset(scheme for scheme, login in logins.items() if login),
        offline=settings.offline,
    )
    return tuple(_look_into(settings, manifest, unknown) for manifest in manifests)


def _is_mirrored(scheme: str, settings: Settings) -> bool:
    prefixes = (mirror.rpartition("=")[0] for mirror in settings.mirrors)
    return any(not prefix or prefix.startswith(f"{scheme}://") for prefix in prefixes)


def _look_into(settings: Settings, manifest: Manifest, supply: Supply) -> Supply:
    artifacts = {profile.artifact.name: profile.artifact for profile in manifest.profiles}
    complete = {
        artifact.name
        for artifact in artifacts.values()
        if supply.offline or supply.is_shut_out(artifact) or supply.is_short_of_room(artifact)
        if is_in_place(artifact) or find_files(artifact, settings) is not None
    }
    return replace(supply, complete=frozenset(complete))
