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
        may_open_gates: Whether a login is at hand that a gated repository may accept, or another
            place is asked that has no gates.
        offline: Whether nobody may be asked.
    """

    folder: str
    room_bytes: int | None
    complete: frozenset[str]
    may_open_gates: bool
    offline: bool

    def is_short_of_room(self, artifact: Artifact) -> bool:
        """Whether the disk cannot take the artifact, were all of it brought."""
        return self.room_bytes is not None and artifact.download_bytes > self.room_bytes

    def is_shut_out(self, artifact: Artifact) -> bool:
        """Whether the artifact lies behind a licence that nobody here can have accepted."""
        return artifact.gated and not self.may_open_gates
