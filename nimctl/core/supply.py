"""What stands between published weights and this machine: room on the disk, logins, a network."""

from dataclasses import dataclass

from nimctl.core.manifest import Artifact


@dataclass(frozen=True, kw_only=True, slots=True)
class Supply:
    """What is known of bringing a model's weights here.

    Attributes:
        folder: Where they are kept.
        room_bytes: Free disk there, and what cut-off transfers hold of it; None where unknown.
        complete: Names of the artifacts that are wholly here and need not be brought.
        logins: Schemes of sources that may let us through a gate: a token or key for them is at
            hand, or a mirror is asked, of whose gates nothing is known.
        offline: Whether nobody may be asked.
    """

    folder: str
    room_bytes: int | None
    complete: frozenset[str]
    logins: frozenset[str]
    offline: bool

    def is_short_of_room(self, artifact: Artifact) -> bool:
        """Whether the disk cannot take the artifact, were all of it brought."""
        return self.room_bytes is not None and artifact.download_bytes > self.room_bytes

    def is_shut_out(self, artifact: Artifact) -> bool:
        """Whether the artifact lies behind a licence that nobody here can have accepted."""
        return artifact.gated and artifact.source.scheme not in self.logins
