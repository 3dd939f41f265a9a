"""A process that fetches one model as a user who owns nothing of the cache.

Usage: other_user_child.py ROOT ENDPOINT COMMIT [offline]
"""

import os
import sys
from pathlib import Path

from cache_stock import Stock
from fake_hub import Model

from nimctl.cache import Cache
from nimctl.errors import NimctlError

STRANGER = 54321


class Hub:
    """What a stock asks of a hub that runs elsewhere."""

    def __init__(self, url: str, commit: str) -> None:
        self.url, self.models = url, {"acme/toy": Model(files={}, commit=commit)}


def main(root: str, url: str, commit: str, *options: str) -> None:
    hub = Hub(url, commit)
    Stock(hub=hub, cache=Cache(Path(f"{root}-{os.getpid()}"))).fetch("acme/toy")  # imports all
    stock = Stock(hub=hub, cache=Cache(Path(root)))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setegid(STRANGER)
        os.seteuid(STRANGER)
    os.umask(0o077)
    try:
        print(stock.fetch("acme/toy", offline="offline" in options).path)
    except NimctlError as error:
        print(f"{error.slug}: {error.message}")


if __name__ == "__main__":
    main(*sys.argv[1:])
