"""What a Python environment says of the packages in it, read without running anything."""

import re
from collections.abc import Iterable
from pathlib import Path

_CUDA = re.compile(r"""^cuda(?:: *[\w\[\] ]+)? *= *['"](\d+\.\d+)['"]""", re.MULTILINE)


def site_packages_of(folder: Path) -> Path | None:
    """Where an environment keeps its packages; None where it is no environment of Python."""
    return next((folder / "lib").glob("python*/site-packages"), None)


def read_version(folders: Iterable[str], package: str) -> str | None:
    """The version of a package that lies in one of these folders; None where it is in none.

    Installers have to write it into the name of its `.dist-info` folder. To read what is in there
    means to parse the README of the package.

    Args:
        package: As it stands there, e.g. `tensorrt_llm`.
    """
    for folder in folders:
        for found in Path(folder).glob(f"{package}-*.dist-info"):
            return found.name.removesuffix(".dist-info").partition("-")[2]
    return None


def read_cuda_version(site_packages: Path) -> str | None:
    """The CUDA version that the environment's PyTorch was built with, e.g. `12.9`.

    PyTorch writes it into `torch/version.py`; None where that is missing, or names none.
    """
    try:
        text = (site_packages / "torch" / "version.py").read_text(errors="replace")
    except OSError:
        return None
    found = _CUDA.search(text)
    return found[1] if found else None
