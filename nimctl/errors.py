"""Every failure a user can act on: what happened, why, and the next command to type.

Anything that is not a `NimctlError` is a bug in nimctl and keeps its traceback.
"""

from typing import ClassVar


class NimctlError(Exception):
    """A failure to show as one sentence.

    Args:
        message: One sentence naming what failed and why, without markup or secrets.
        hint: The next thing to do, given only when doing it can help.
    """

    slug: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(NimctlError):
    """What the user gave (an option, a setting, a file, a name) cannot be used."""

    slug = "bad-input"
    exit_code = 2


class UnknownModelError(InputError):
    """No model of that name is in the catalogue, or the short name is ambiguous."""

    slug = "unknown-model"


class ManifestError(InputError):
    """A manifest file has faults; the message lists all of them as `file:line: fault`."""

    slug = "bad-manifest"


class NothingFitsError(NimctlError):
    """No profile of the model can run on this machine as asked."""

    slug = "nothing-fits"
    exit_code = 3


class FetchError(NimctlError):
    """Files of a model could not be brought to this disk."""

    slug = "fetch-failed"
    exit_code = 4


class AccessDeniedError(FetchError):
    """The source wants a login, a token, or an accepted licence."""

    slug = "access-denied"
    exit_code = 7


class NotFoundError(FetchError):
    """The source has no such model, revision or file."""

    slug = "not-found"
    exit_code = 8


class UnreachableError(FetchError):
    """The source cannot be asked now: no network, proxy, certificate, busy server, or offline."""

    slug = "unreachable"
    exit_code = 9


class DiskFullError(FetchError):
    """The disk of the cache has too little room."""

    slug = "disk-full"
    exit_code = 10


class DigestMismatchError(FetchError):
    """Bytes that arrived, or that are here, are not the bytes that were published."""

    slug = "digest-mismatch"
    exit_code = 11


class SignatureError(FetchError):
    """Files are not signed, or not by the owner of the key that was named."""

    slug = "bad-signature"
    exit_code = 12


class InUseError(NimctlError):
    """What shall be removed is being used, or was pinned."""

    slug = "in-use"
    exit_code = 13


class UnsafeFilesError(FetchError):
    """The files could run code of their publisher, and nobody asked for such files."""

    slug = "unsafe-files"
    exit_code = 6


class EngineError(NimctlError):
    """The engine process could not be started, or died.

    Args:
        message: As for every failure.
        hint: As for every failure.
        symptom: Code of the known failure that it is, if it is one.
        cause: What that failure is, in one sentence.
        detail: What the engine said of it, e.g. a number of tokens.
    """

    slug = "engine-failed"
    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        symptom: str | None = None,
        cause: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.symptom = symptom
        self.cause = cause
        self.detail = detail


class InterruptedByUserError(NimctlError):
    """The user pressed Ctrl-C; the message says what was kept."""

    slug = "interrupted"
    exit_code = 130


class TerminatedError(InterruptedByUserError):
    """SIGTERM asked for the end; the message says what was kept."""

    slug = "terminated"
    exit_code = 143
