"""A process that fetches one model, so that tests can kill, limit and race it.

Usage: fetch_child.py ROOT ENDPOINT URI [no-flock] [no-sockets] [offline] [limit=BYTES]
       [clock=SECONDS] [machine=NAME]

Its clock is so much ahead, and it takes itself for a process of another machine.
"""

import fcntl
import resource
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

from nimctl.cache import Cache, FetchRequest, Progress, RetryPolicy, owners
from nimctl.core.source import parse_source_uri
from nimctl.errors import NimctlError
from nimctl.sources import SourceAccess, open_source


def main(root: str, endpoint: str, uri: str, *options: str) -> int:
    if "no-flock" in options:
        fcntl.flock = lambda descriptor, operation: None
    if "no-sockets" in options:
        socket.socket.connect = refuse
        socket.getaddrinfo = refuse
    for option in options:
        if option.startswith("limit="):
            limit = int(option.removeprefix("limit="))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        if option.startswith("clock="):
            set_clock(float(option.removeprefix("clock=")))
        if option.startswith("machine="):
            move_to(option.removeprefix("machine="))
    cache = Cache(Path(root), patience=RetryPolicy(first_wait_s=0.05))
    request = FetchRequest(uri=parse_source_uri(uri))
    access = SourceAccess(
        scratch_folder=cache.scratch_folder, python=Path(sys.executable), hf_endpoint=endpoint
    )
    with closing(open_source(request.uri, access)) as source:
        try:
            entry = cache.fetch(request, source, tell, offline="offline" in options)
        except NimctlError as error:
            print(f"{error.slug}: {error.message}", flush=True)
            return error.exit_code
    print(entry.path, flush=True)
    return 0


def refuse(*arguments: object) -> object:
    raise AssertionError(f"a connection was tried: {arguments}")


def set_clock(ahead_s: float) -> None:
    real = time.time
    time.time = lambda: real() + ahead_s


def move_to(machine: str) -> None:
    real = owners.name_machine
    for module in list(sys.modules.values()):
        if getattr(module, "name_machine", None) is real:
            module.name_machine = lambda: machine


def tell(event: Progress) -> None:
    print(f"event {type(event).__name__}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
