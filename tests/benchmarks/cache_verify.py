"""How fast `nimctl cache verify --deep` hashes, against sha256 alone; run by hand.

Usage: python tests/benchmarks/cache_verify.py [FOLDER] [MEGABYTES] [FILES]

Bar: at least 0.9 x min(cores, files) x the rate at which one thread of plain hashlib hashes one
of the files. Rounds of both alternate; medians are compared. As many processes of plain hashlib as
there are cores alternate with them, which tells what a busy machine has to give. A look without
`--deep` is timed beside them.
"""

import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from nimctl.cache import Cache
from nimctl.cache.layout import Layout
from nimctl.cache.stamps import stamp_blob
from nimctl.cache.upkeep import Upkeep

ROUNDS = 5


def main(folder: str | None = None, megabytes: str = "1024", files: str = "4") -> None:
    with tempfile.TemporaryDirectory(dir=folder) as root:
        cache = Cache(Path(root))
        total_bytes = fill(cache, int(megabytes) * 1_000_000 // int(files), int(files))
        cores = min(len(os.sched_getaffinity(0)), int(files))
        blobs = sorted(path for path in (cache.root / "blobs").rglob("*") if path.is_file())
        alone, deep, all_cores = [], [], []
        with multiprocessing.get_context("spawn").Pool(cores) as pool:
            for _ in range(ROUNDS):
                alone.append(blobs[0].lstat().st_size / time_of(lambda: hash_plainly(blobs[0])))
                deep.append(total_bytes / time_of(lambda: Upkeep(cache).verify(deep=True)))
                all_cores.append(total_bytes / time_of(lambda: pool.map(hash_plainly, blobs, 1)))
        look_s = median(time_of(cache.verify) for _ in range(ROUNDS))
    ratio = median(deep) / (median(alone) * cores)
    print(f"sha256, one thread   {median(alone) / 1e6:8.0f} MB/s")
    print(f"verify --deep        {median(deep) / 1e6:8.0f} MB/s, {files} files, {cores} cores")
    print(f"verify               {look_s * 1e6 / int(files):8.0f} us a file")
    print(f"ratio to cores x sha256: {ratio:.2f} (bar 0.90)")
    print(f"ratio to what {cores} processes of hashlib got: {median(deep) / median(all_cores):.2f}")


def fill(cache: Cache, file_bytes: int, files: int) -> int:
    """Blobs of random bytes under their names, stamped."""
    layout = Layout(root=cache.root)
    layout.create()
    for _ in range(files):
        content = os.urandom(file_bytes)
        sha256 = hashlib.sha256(content).hexdigest()
        layout.make_folder(layout.blob(sha256).parent)
        layout.blob(sha256).write_bytes(content)
        stamp_blob(layout, sha256)
    return file_bytes * files


def hash_plainly(path: Path) -> str:
    """What the standard library does with one file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def time_of(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main(*sys.argv[1:])
