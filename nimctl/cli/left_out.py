"""Published profiles that nimctl leaves out and models it cannot judge, as text and as JSON."""

from collections import Counter
from typing import Any

from nimctl.catalog import UnjudgedModel, UnjudgedModelError
from nimctl.cli.listing_text import ID_DIGITS
from nimctl.cli.terminal import bold, dim, print_line, print_wrapped
from nimctl.core.manifest import LeftOutProfile, Manifest


def print_left_out(manifest: Manifest, *, in_full: bool) -> None:
    """How many profiles of NIM's manifest are left out, and why; each of them `in_full`."""
    if not manifest.left_out:
        return
    print_line("- Left out, as nimctl cannot read or run them:")
    if in_full:
        for one in manifest.left_out:
            print_line(f"  - {one.name}")
            print_wrapped("", f"{one.reason} ({one.place})", indent=4)
        return
    for reason, count in Counter(one.reason for one in manifest.left_out).most_common():
        print_wrapped(f"  - {count} x", reason, indent=8)
    print_line(dim("(--explain shows each of them)"))


def count_left_out(manifest: Manifest) -> str:
    """The end of a sentence on what else was published; empty where nothing was left out."""
    count = len(manifest.left_out)
    if not count:
        return ""
    return (
        f"; {count} more of {manifest.origin} are left out, "
        f"which `nimctl list-profiles {manifest.model}` explains"
    )


def left_out_document(left_out: tuple[LeftOutProfile, ...]) -> list[dict[str, Any]]:
    """The profiles under the names of NIM's metadata API, each with its reason."""
    return [
        {
            "profile_id": one.id,
            "description": one.description,
            "reason": one.reason,
            "place": one.place,
        }
        for one in left_out
    ]


def print_unjudged(error: UnjudgedModelError) -> None:
    """A model that cannot be judged: why, its profiles, and what would make it known."""
    unjudged = error.unjudged
    print_line(bold(f"MODEL PROFILES of {unjudged.model}"))
    print_wrapped("", unjudged.reason, indent=2)
    print_line("- Not judged:")
    for one in unjudged.left_out:
        own = "" if one.reason in unjudged.reason else f"  {one.reason}"
        print_wrapped(f"  - {one.id[:ID_DIGITS]}", f"{one.description}{own}", indent=18)
    if error.hint:
        print_wrapped("hint:", error.hint, indent=6)


def unjudged_document(error: UnjudgedModelError) -> dict[str, Any]:
    """The same as JSON, in the place of a selection."""
    unjudged = error.unjudged
    return {
        "schema": "nimctl-selection/1",
        "model": unjudged.model,
        "reason": unjudged.reason,
        "hint": error.hint,
        "profiles": [],
        "left_out": left_out_document(unjudged.left_out),
    }


def print_unjudged_models(models: tuple[UnjudgedModel, ...]) -> None:
    """The models that the catalogue cannot judge, each with the reason and what is still tried."""
    if not models:
        return
    print_line()
    print_line(bold("NOT JUDGED"))
    for unjudged in models:
        print_line(unjudged.model)
        print_wrapped("", f"{unjudged.reason}{_say_next(unjudged)}", indent=2)


def unjudged_models_document(models: tuple[UnjudgedModel, ...]) -> list[dict[str, Any]]:
    """The same as JSON."""
    return [
        {
            "model": unjudged.model,
            "origin": unjudged.nim.origin,
            "reason": unjudged.reason,
            "places": [str(place) for place in unjudged.places],
            "profiles": len(unjudged.nim.profiles),
        }
        for unjudged in models
    ]


def _say_next(unjudged: UnjudgedModel) -> str:
    if not unjudged.places:
        return ""
    return f"; `nimctl list-profiles {unjudged.model}` looks for it at {unjudged.places[0]}"
