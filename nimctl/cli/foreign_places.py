"""Where other tools keep their models, and what kind of folder somebody names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nimctl.cache.foreign import FindModels
from nimctl.cache.foreign_gguf import (
    find_folder_models,
    find_lm_studio_models,
    find_ollama_models,
)
from nimctl.cache.foreign_hub import find_hub_models, find_nim_models
from nimctl.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignPlace:
    """A folder of another tool, and what reads it."""

    folder: Path
    find: FindModels


def list_usual_places(
    environment: Mapping[str, str], tool: str | None = None
) -> tuple[ForeignPlace, ...]:
    """The folders of a tool (`hf`, `ollama`, `lmstudio`, `nim`), or of all, that are here."""
    home = Path(environment.get("HOME") or Path.home())
    places = {
        "hf": (find_hub_models, [_hub_folder(environment, home)]),
        "ollama": (find_ollama_models, _ollama_folders(environment, home)),
        "lmstudio": (
            find_lm_studio_models,
            [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"],
        ),
        "nim": (find_nim_models, _nim_folders(environment, home)),
    }
    return tuple(
        ForeignPlace(folder=folder, find=find)
        for name, (find, folders) in places.items()
        if tool in (None, name)
        for folder in dict.fromkeys(folders)
        if folder.is_dir()
    )


def is_tool(name: str) -> bool:
    """Whether `name` stands for the usual places of a tool."""
    return name in ("hf", "ollama", "lmstudio", "nim")


def is_bundle(path: Path) -> bool:
    """Whether a path is taken for a bundle: a file, or a folder with the layout of OCI."""
    return path.is_file() or (path / "oci-layout").is_file()


def recognize(folder: Path) -> ForeignPlace:
    """What kind of folder this is, by what it holds; without a sign the files of one model.

    Raises:
        InputError: it does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist")
    if any(folder.glob("models--*")):
        return ForeignPlace(folder=folder, find=find_hub_models)
    if (folder / "ngc" / "hub").is_dir() or (folder / "huggingface" / "hub").is_dir():
        return ForeignPlace(folder=folder, find=find_nim_models)
    if any((folder / "hub").glob("models--*")):
        return ForeignPlace(folder=folder / "hub", find=find_hub_models)
    for models in (folder, folder / "models"):
        if (models / "manifests").is_dir() and (models / "blobs").is_dir():
            return ForeignPlace(folder=models, find=find_ollama_models)
    if any(folder.glob("*/*/*.gguf")) and not any(path.is_file() for path in folder.iterdir()):
        return ForeignPlace(folder=folder, find=find_lm_studio_models)
    return ForeignPlace(folder=folder.absolute(), find=find_folder_models)


def _hub_folder(environment: Mapping[str, str], home: Path) -> Path:
    """As huggingface_hub finds it (`constants.py`)."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(name):
            return Path(environment[name]).expanduser()
    if environment.get("HF_HOME"):
        return Path(environment["HF_HOME"]).expanduser() / "hub"
    caches = environment.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else home / ".cache") / "huggingface" / "hub"


def _ollama_folders(environment: Mapping[str, str], home: Path) -> list[Path]:
    """The user's own, and that of the service which Ollama's installer makes on Linux."""
    if environment.get("OLLAMA_MODELS"):
        return [Path(environment["OLLAMA_MODELS"]).expanduser()]
    return [home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]


def _nim_folders(environment: Mapping[str, str], home: Path) -> list[Path]:
    named = [environment.get("NIM_CACHE_PATH"), environment.get("LOCAL_NIM_CACHE")]
    usual = [home / ".cache" / "nim", Path("/opt/nim/.cache")]
    return [Path(name).expanduser() for name in named if name] or usual
