"""Where manifest files lie: `<publisher>/<model>.yaml` in the shipped folder and in the user's.

NIM's own manifests may lie anywhere under any name, for they tell their model themselves.
"""

from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from nimctl.catalog.nim_name import NIM_FILE_NAMES, find_model_name, is_nim_manifest
from nimctl.errors import InputError, ManifestError

_LOOKED_AT_BYTES = 8 * 1024 * 1024


def shipped_manifest_dir() -> Path:
    """The folder inside the installed package, or beside it in a source checkout."""
    package = Path(str(resources.files("nimctl")))
    inside = package / "manifests"
    return inside if inside.is_dir() else package.parent / "manifests"


def list_manifest_files(directories: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """The files of each model by its name, in the order of `directories`.

    Only a file outside of `<publisher>/<model>.yaml` is opened, to see whether it is one of NIM's.

    Raises:
        InputError: a folder does not exist.
        ManifestError: a YAML file lies where no manifest belongs.
    """
    files: dict[str, tuple[Path, ...]] = {}
    for directory in dict.fromkeys(path.resolve() for path in directories):
        for model, path in _list_folder(directory):
            files[model] = (*files.get(model, ()), path)
    return files


def _list_folder(directory: Path) -> Iterator[tuple[str, Path]]:
    """Files in the place of a model first, so that NIM's beside them can build upon them."""
    if not directory.is_dir():
        raise InputError(f"the manifest folder {directory} does not exist")
    elsewhere = []
    for path in sorted(directory.rglob("*.y*ml")):
        parts = path.relative_to(directory).parts
        if any(part.startswith(".") for part in parts):
            continue
        if len(parts) == 2 and path.suffix == ".yaml" and path.stem not in NIM_FILE_NAMES:
            yield f"{parts[0]}/{path.stem}".lower(), path
        else:
            elsewhere.append(path)
    for path in elsewhere:
        yield _ask_for_model(path, directory), path


def _ask_for_model(path: Path, directory: Path) -> str:
    """The model that NIM's manifest at `path` describes."""
    try:
        with path.open("rb") as file:
            text = file.read(_LOOKED_AT_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    place = f"{directory}/<publisher>/<model>.yaml"
    if not is_nim_manifest(text):
        raise ManifestError(f"{path}:1: the place of a manifest is {place}")
    model = find_model_name(text)
    if model is None:
        raise ManifestError(
            f"{path}:1: this NIM manifest does not tell its model; its place is {place}"
        )
    return model
