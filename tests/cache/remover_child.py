"""A process that removes models, and prunes, until SIGTERM; a line for each model that went.

Usage: remover_child.py ROOT KEY...
"""

import signal
import sys
import threading
from pathlib import Path

from nimctl.cache import Cache
from nimctl.cache.upkeep import PruneRequest, Upkeep


def main(root: str, *keys: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    upkeep = Upkeep(Cache(Path(root)))
    while not stop.is_set():
        for record in upkeep.remove(set(keys)).records:
            print(record, flush=True)
        upkeep.prune(PruneRequest(max_bytes=0, unused_s=0.0, partials=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
