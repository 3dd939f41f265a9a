"""What speaks against bringing a model's weights here: room, logins, what is here already."""

from dataclasses import replace

from nimctl.cache import Cache
from nimctl.cli.hub_login import read_hub_login
from nimctl.cli.weights import find_files, is_in_place
from nimctl.core.manifest import Manifest
from nimctl.core.supply import Supply
from nimctl.settings import KEYS, Settings

_HUB = next(key.default for key in KEYS if key.name == "hf_endpoint")


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
