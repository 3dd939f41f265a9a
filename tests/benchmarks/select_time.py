"""How long the judge takes for 500 profiles on a machine with 8 GPUs.

Run `python tests/benchmarks/select_time.py [RUNS]`. The first figure is for a model whose context
fits at once, the second for one whose context never does, so that for every profile the longest
that fits is searched for. The bar is 50 ms for both.
"""

import gc
import itertools
import statistics
import sys
import time
from dataclasses import replace

from nimctl.catalog import load_catalog
from nimctl.cli.facts import forecast
from nimctl.core.engine import InstalledEngine
from nimctl.core.manifest import Manifest, Profile
from nimctl.core.selection import select
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.probe import find_preset

PROFILES = 500
MODEL = "meta/llama-3.1-8b-instruct"
ENDLESS = 16 * 1024**2
"""Tokens of context that no profile of an 8 B model fits on eight H100."""

INSTALLED = tuple(
    InstalledEngine(
        name=traits.name, version=None, origin="assumption", program=(), devices=traits.devices
    )
    for traits in TRAITS.values()
)


def make_manifest() -> Manifest:
    """The shipped model with its profiles over and over, each under an id and a size of its own."""
    manifest = load_catalog().find(MODEL)
    several = itertools.islice(itertools.cycle(manifest.profiles), PROFILES)
    profiles = tuple(make_own(number, one) for number, one in enumerate(several))
    return replace(manifest, profiles=profiles)


def make_own(number: int, profile: Profile) -> Profile:
    """The profile with weights that nothing worked out for another can stand for."""
    weight_bytes = profile.artifact.weight_bytes + number
    artifact = replace(profile.artifact, weight_bytes=weight_bytes)
    return replace(profile, id=f"{number:064x}", artifact=artifact)


def measure(manifest: Manifest, runs: int) -> list[float]:
    """Milliseconds of each run."""
    hardware = find_preset("h100x8")
    times = []
    for _ in range(runs):
        gc.collect()
        began_s = time.perf_counter()
        selection = select(
            manifest, hardware, Wish(), engines=TRAITS, installed=INSTALLED, forecast=forecast
        )
        times.append(1000 * (time.perf_counter() - began_s))
        assert len(selection.verdicts) == PROFILES
    return times


def main(runs: int) -> None:
    """Print both medians."""
    manifest = make_manifest()
    endless = replace(manifest, shape=replace(manifest.shape, max_context_length=ENDLESS))
    measure(manifest, 1)  # reads the shipped predictions
    for name, one in (("context fits at once", manifest), ("context searched for", endless)):
        times = measure(one, runs)
        print(
            f"{PROFILES} profiles x 8 GPUs, {name}: median {statistics.median(times):5.1f} ms, "
            f"best {min(times):5.1f} ms, {runs} runs (bar 50 ms)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
