"""Which files of a repository are brought: weights that are only data before all others.

Pickles run whatever code their publisher wrote as soon as they are opened (Python's
documentation, `pickle`), and so do Keras files with Lambda layers; safetensors and GGUF cannot.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from nimctl.errors import UnsafeFilesError

SAFE_WEIGHTS = (".safetensors", ".gguf")
PICKLES = (
    *(".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".mar"),
    *(".h5", ".keras"),
)
"""Formats that may run code when they are opened."""
OTHER_WEIGHTS = (
    *(".msgpack", ".onnx", ".onnx_data", ".ot", ".tflite", ".mlmodel", ".mlpackage", ".pb"),
)
"""The same weights again, for programs that nimctl does not start."""
CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".dylib", ".exe")


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyPolicy:
    """What may be brought beside data.

    Attributes:
        allow_pickle: Pickles, where there are no weights in a safe format.
        allow_code: Programs of the publisher.
    """

    allow_pickle: bool = False
    allow_code: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Sorted:
    """Paths of a repository, in two heaps that keep its order."""

    kept: tuple[str, ...]
    left_out: tuple[str, ...]


def sort_out(paths: Iterable[str], policy: SafetyPolicy) -> Sorted:
    """Leave out what could run code, and weights that are there in a safe format too."""
    paths = tuple(paths)
    has_safe_weights = any(path.lower().endswith(SAFE_WEIGHTS) for path in paths)
    unwanted: tuple[str, ...] = () if policy.allow_code else CODE
    if has_safe_weights:
        unwanted += PICKLES + OTHER_WEIGHTS
    elif not policy.allow_pickle:
        unwanted += PICKLES
    return Sorted(
        kept=tuple(path for path in paths if not path.lower().endswith(unwanted)),
        left_out=tuple(path for path in paths if path.lower().endswith(unwanted)),
    )


def check_worth_bringing(what: str, found: Sorted) -> None:
    """Refuse a repository whose weights, or all of it, had to be left out.

    Raises:
        UnsafeFilesError: with the file and the option that would bring it.
    """
    if any(path.lower().endswith(SAFE_WEIGHTS) for path in found.kept):
        return
    pickles = list_pickles(found.left_out)
    if pickles:
        raise UnsafeFilesError(
            f"{what} has weights only as {_name_some(pickles)}, which can run code of their "
            "publisher when they are opened; nimctl brings safetensors and GGUF",
            hint="look for a version in safetensors or GGUF; --allow-pickle brings them all the "
            "same",
        )
    if not found.kept and found.left_out:
        raise UnsafeFilesError(
            f"{_name_some(found.left_out)} of {what} is code of the publisher",
            hint="read it first; --trust-remote-code brings it",
        )


def list_pickles(paths: Iterable[str]) -> tuple[str, ...]:
    """Those that may run code when they are opened."""
    return tuple(path for path in paths if path.lower().endswith(PICKLES))


def describe_left_out(found: Sorted) -> str | None:
    """One sentence about what is not brought, and how it would be; None where that is nothing."""
    code = [path for path in found.left_out if path.lower().endswith(CODE)]
    others = [path for path in found.left_out if path not in code]
    parts = []
    if others:
        parts.append(f"{_name_some(others)} (the weights are there in a safe format)")
    if code:
        parts.append(f"{_name_some(code)} (code of the publisher; --trust-remote-code brings it)")
    return f"left out: {', '.join(parts)}" if parts else None


def _name_some(paths: Iterable[str]) -> str:
    first, *others = paths
    return f"{first} and {len(others)} more" if others else first
