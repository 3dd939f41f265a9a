"""The objections to bringing a profile's files: no room, a licence not accepted, no network."""

from collections.abc import Iterator

from nimctl.core.case import Case
from nimctl.core.units import format_file_bytes
from nimctl.core.verdict import Finding, Fit


def check_supply(case: Case) -> Iterator[Finding]:
    """Files that are not here must be allowed to come, and have room."""
    supply, artifact = case.supply, case.profile.artifact
    if supply is None or artifact.name in supply.complete or artifact.source.scheme == "file":
        return
    if supply.offline:
        yield Finding(
            check="offline",
            fit=Fit.OUT_OF_REACH,
            message="its files are not in the cache, and offline nobody may be asked",
            need=format_file_bytes(artifact.download_bytes),
            hint="download it once with a network, or copy a cache that holds it",
        )
        return
    if supply.is_shut_out(artifact):
        yield _gate(case)
    if supply.is_short_of_room(artifact):
        need = format_file_bytes(artifact.download_bytes)
        have = format_file_bytes(supply.room_bytes or 0)
        yield Finding(
            check="disk",
            fit=Fit.OUT_OF_REACH,
            message=f"its files take {need}, the disk of {supply.folder} has room for {have}",
            need=need,
            have=have,
            hint="free some space there, or name a folder on a larger disk with --cache-dir",
        )


def _gate(case: Case) -> Finding:
    source = case.profile.artifact.source
    secret = _SECRETS.get(source.scheme, "its token")
    return Finding(
        check="licence",
        fit=Fit.OUT_OF_REACH,
        message=f"{source.location} is gated: its publisher wants an accepted licence "
        f"({case.manifest.licence}) and a login",
        need="an accepted licence and a token",
        have="no token",
        hint=f"accept it on the page of {source.location}, then set {secret}",
    )


_SECRETS = {"hf": "HF_TOKEN", "ngc": "NGC_API_KEY"}
