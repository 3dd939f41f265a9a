"""What a Python environment says of the packages in it, read without running anything."""

import re
from importlib import metadata
from pathlib import Path

_CUDA = re.compile(r"""^cuda(?:: *[\w\[\] ]+)? *= *['"](\d+\.\d+)['"]""", re.MULTILINE)


def site_packages_of(folder: Path) -> Path | None:
    """Where an environment keeps its packages; None where it is no environment of Python."""
    return next((folder / "lib").glob("python*/site-packages"), None)


def find_distribution(site_packages: Path, name: str) -> metadata.Distribution | None:
    """A package of an environment; None where it is not there."""
    return next(iter(metadata.distributions(name=name, path=[str(site_packages)])), None)


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
