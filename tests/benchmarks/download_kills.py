"""Downloads that are killed again and again, and many at once: what the network and the disk pay.

    python tests/benchmarks/download_kills.py --size-mb 2700 --rate-mb 20

The server and the made model are those of `download.py`. First one process fetches the model and
is killed with SIGKILL after a random time between 1.5 and 3 seconds, until one comes to its end:
the bytes that left the server and the most disk that was taken are told as multiples of the size.
Then several processes fetch it at once, with the kernel's advisory locks and with locks that do
nothing.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import download

NO_LOCKS = "import fcntl; fcntl.flock = lambda descriptor, operation: None; "
COMMAND = f"""
import sys
sys.argv = ["nimctl", "download", "hf://{download.MODEL}", *{download.ANY_MACHINE!r}]
from nimctl.__main__ import main
main()
"""


def served_bytes(log):
    """Bytes of bodies that nginx sent, by its log."""
    time.sleep(1.5)  # it writes its log every second
    return sum(int(line.split('"')[2].split()[1]) for line in log.read_text().splitlines())


def disk_bytes(folder):
    """What all files of a folder take; hard links count once."""
    taken = {}
    for path in folder.rglob("*"):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            continue
        taken[facts.st_ino] = facts.st_blocks * 512
    return sum(taken.values())


def start(environment, prefix=""):
    """A download of the model."""
    return subprocess.Popen(
        [sys.executable, "-c", prefix + COMMAND],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def storm(environment, cache, seed):
    """Kill it until it is done: how often, and the most disk it took."""
    chance, kills, most_bytes = random.Random(seed), 0, 0
    while True:
        process = start(environment)
        end_s = time.monotonic() + chance.uniform(1.5, 3)
        while process.poll() is None and time.monotonic() < end_s:
            most_bytes = max(most_bytes, disk_bytes(cache))
            time.sleep(0.1)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        if kills > 200:
            raise SystemExit("it never comes to its end")
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    return kills, max(most_bytes, disk_bytes(cache))


def crowd(environment, processes, prefix):
    """Several at once, all of which must succeed."""
    running = [start(environment, prefix) for _ in range(processes)]
    for process in running:
        if process.wait():
            raise SystemExit(process.stderr.read().decode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size-mb", type=int, default=2700)
    parser.add_argument("--rate-mb", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        top = Path(name)
        files, logs, cache = top / "files", top / "logs", top / "cache"
        files.mkdir()
        logs.mkdir()
        top.chmod(0o755)
        digests = download.make_files(files, options.size_mb * download.MB, 4)
        size_bytes = sum(size for size, _ in digests.values())
        with download.serve_storage(logs, files, options.rate_mb) as port:
            hub = f"http://127.0.0.1:{download.serve_hub(digests, port)}"
            environment = os.environ | {"HF_ENDPOINT": hub, "NIMCTL_CACHE_DIR": str(cache)}
            log, before = logs / "access.log", 0
            for seed in range(options.rounds):
                kills, most_bytes = storm(environment, cache, seed)
                served, before = served_bytes(log) - before, served_bytes(log)
                print(
                    f"storm {seed}: {kills} kills, served {served / size_bytes:.3f} x, "
                    f"disk {most_bytes / size_bytes:.3f} x",
                    flush=True,
                )
                shutil.rmtree(cache)
            for what, prefix in (("locks", ""), ("locks that do nothing", NO_LOCKS)):
                crowd(environment, options.processes, prefix)
                served, before = served_bytes(log) - before, served_bytes(log)
                ratio = f"{served / size_bytes:.3f} x"
                print(f"{options.processes} processes, {what}: served {ratio}", flush=True)
                shutil.rmtree(cache)


if __name__ == "__main__":
    main()
