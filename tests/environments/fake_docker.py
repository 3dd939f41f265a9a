"""A fake docker as a real program: images are files of a folder, a container is a fake engine.

Usage: as docker's `image inspect`, `pull`, `run` and `rm`. `FAKE_DOCKER` is the folder; every call
is a line of its file `calls`.
"""

import os
import sys
from pathlib import Path

FAKE_ENGINE = Path(__file__).parents[1] / "fake_engine.py"
FOLDER = Path(os.environ["FAKE_DOCKER"])


def main(words: list[str]) -> int:
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join(words[:2]) + "\n")
    if words[0] == "run":
        uds = words[words.index("--uds") + 1]
        command = [sys.executable, str(FAKE_ENGINE), "--uds", uds]
        os.execv(command[0], command)  # noqa: S606 - as docker's client, it is what is signalled
    image = FOLDER / words[-1].replace("/", "_")
    if words[0] == "pull":
        if "none" in words[-1]:
            print("Error response from daemon: manifest unknown", file=sys.stderr)
            return 1
        image.touch()
    return 0 if words[0] == "rm" or image.exists() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
