"""The log of a detached server: bounded, and nothing of the newest lines is lost."""

import subprocess
import sys
from pathlib import Path

LIMIT_BYTES = 4096
LINES = 3000
SERVER = f"""
import sys
from pathlib import Path
from nimctl.cli.own_log import OwnLog, find_own_log

log = OwnLog(find_own_log(Path(sys.argv[1])), limit_bytes={LIMIT_BYTES})
for number in range({LINES}):
    print(number, file=sys.stderr if number % 2 else sys.stdout, flush=True)
    log.keep_in_bounds()
"""


def speak(state, log):
    log.parent.mkdir(parents=True)
    with log.open("a") as file:
        subprocess.run(
            [sys.executable, "-c", SERVER, str(state)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            check=True,
        )


def test_it_is_set_aside_when_full_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "servers" / "now.log"
    speak(tmp_path, log)
    files = [path for path in (Path(f"{log}.2"), Path(f"{log}.1"), log) if path.exists()]
    assert {path.name for path in log.parent.iterdir()} == {path.name for path in files}
    assert all(path.stat().st_size < LIMIT_BYTES + 16 for path in files)
    kept = [int(line) for path in files for line in path.read_text().split()]
    assert kept == list(range(kept[0], LINES))


def test_a_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "elsewhere" / "now.log"
    speak(tmp_path, log)
    assert [int(line) for line in log.read_text().split()] == list(range(LINES))
    assert len(list(log.parent.iterdir())) == 1
