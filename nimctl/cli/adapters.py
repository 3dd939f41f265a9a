"""The LoRA adapters to serve: those of a folder and those named one by one, with their ranks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nimctl.core.engine import EngineTraits
from nimctl.core.plan import Adapter
from nimctl.errors import InputError
from nimctl.settings import Settings

CONFIG = "adapter_config.json"
_GGUF = ".gguf"


def find_adapters(settings: Settings, traits: EngineTraits) -> tuple[Adapter, ...]:
    """Every adapter that was asked for; one named alone replaces that of the folder.

    Raises:
        InputError: there is none where one was named, or it is in a form the engine cannot load.
    """
    found = {one.name: one for one in _list_folder(settings.lora_dir)}
    found |= {name: Adapter(name=name, path=path) for name, path in settings.lora_adapters}
    adapters = tuple(_look_at(one, traits) for one in found.values())
    if traits.adapters_anywhere and len(adapters) > 1:
        raise InputError(
            f"{traits.title} puts every LoRA adapter it is started with into every answer, "
            f"and {len(adapters)} were named",
            hint="name one, or use --engine vllm, where each has a name of its own",
        )
    return adapters


def _list_folder(folder: Path | None) -> Iterator[Adapter]:
    if folder is None:
        return
    if not folder.is_dir():
        raise InputError(f"the folder of LoRA adapters {folder} does not exist")
    found = [path for path in sorted(folder.iterdir()) if _is_adapter(path)]
    if not found:
        raise InputError(
            f"{folder} holds no LoRA adapter",
            hint=f"each adapter is a subfolder with {CONFIG} and its weights, or for llama.cpp a "
            "GGUF file",
        )
    for path in found:
        yield Adapter(name=path.stem if path.suffix == _GGUF else path.name, path=path)


def _is_adapter(path: Path) -> bool:
    return path.suffix == _GGUF or (path / CONFIG).is_file()


def _look_at(adapter: Adapter, traits: EngineTraits) -> Adapter:
    """The adapter as this engine loads it, with its rank."""
    path = Path(adapter.path)
    if "gguf" in traits.formats:
        return Adapter(name=adapter.name, path=_find_gguf(adapter.name, path))
    if not (path / CONFIG).is_file():
        raise InputError(
            f"{path} is no LoRA adapter for {traits.title}: there is no {CONFIG} in it",
            hint="name the folder that PEFT wrote",
        )
    return Adapter(name=adapter.name, path=path, rank=_read_rank(path / CONFIG))


def _find_gguf(name: str, path: Path) -> Path:
    """The GGUF file of an adapter: itself, or the only one in its folder."""
    files = [path] if path.suffix == _GGUF else sorted(path.glob(f"*{_GGUF}"))
    if len(files) != 1 or not files[0].is_file():
        raise InputError(
            f"llama.cpp needs the LoRA adapter {name} as one GGUF file, and {path} is none",
            hint="convert it with llama.cpp's convert_lora_to_gguf.py, then name the file",
        )
    return files[0]


def _read_rank(config: Path) -> int:
    """The rank that PEFT wrote, the largest where it differs by layer."""
    try:
        read = json.loads(config.read_bytes())
        ranks: list[Any] = [read["r"], *(read.get("rank_pattern") or {}).values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{config} does not say the rank of the adapter") from error
    numbers = [rank for rank in ranks if isinstance(rank, int) and rank > 0]
    if len(numbers) != len(ranks):
        raise InputError(f"{config}: the rank is no number above 0")
    return max(numbers)
