"""What a command must know before it can decide: machine, engines, models, and the wish."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nimctl.cache.papers import list_manifests
from nimctl.catalog import Catalog, UnjudgedModelError, load_catalog
from nimctl.cli.asked import is_address
from nimctl.cli.known_speeds import read_benches, read_memory, use_benches, use_held
from nimctl.cli.launching import read_options
from nimctl.cli.supplying import read_supplies
from nimctl.core.engine import InstalledEngine
from nimctl.core.hardware import Hardware
from nimctl.core.manifest import Manifest, Profile, Shape
from nimctl.core.names import EngineName
from nimctl.core.selection import Forecast, select
from nimctl.core.speed import SpeedFigure, Traffic
from nimctl.core.supply import Supply
from nimctl.core.verdict import Selection
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.environments import find_engines, read_engine_at
from nimctl.errors import InputError
from nimctl.settings import Settings
from nimctl.settings.places import user_state_folder

_UUID = re.compile(r"(GPU|MIG|MIG-GPU)-[0-9a-f][0-9a-f/-]*", re.IGNORECASE)
"""Of a GPU, or of a slice of one in either form that drivers give them; or how it begins."""

if TYPE_CHECKING:
    from nimctl.evidence.measured import BenchRecord, MemoryRecord
    from nimctl.probe import BandwidthRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The machine to judge.

    Attributes:
        source: None for this machine, else the snapshot or preset it was read from.
        engines_assumed: The snapshot names no engines, so all are taken as installed.
        benches: What was measured so far, on this machine and others, the newest first.
        memory: What engines held so far, on this machine and others, the newest first.
    """

    hardware: Hardware
    engines: tuple[InstalledEngine, ...]
    source: str | None = None
    engines_assumed: bool = False
    benches: "tuple[BenchRecord, ...]" = ()
    memory: "tuple[MemoryRecord, ...]" = ()


def open_bandwidth_record(*, again: bool = False) -> "BandwidthRecord":
    """Where the measured bandwidth of this machine's memory is kept.

    Args:
        again: Measure it even if it was before.
    """
    from nimctl.probe import BandwidthRecord

    folder = user_state_folder()
    return BandwidthRecord(path=folder and folder / "memory-bandwidth.json", again=again)


def _list_image_engines(settings: Settings) -> tuple[InstalledEngine, ...]:
    if settings.container is None:
        return ()
    from nimctl.cli.containing import list_image_engines

    return list_image_engines(settings)


def read_machine(settings: Settings, other: str | None, *, again: bool = False) -> Machine:
    """This machine, or another one: a snapshot file, or a preset such as `h100x8`.

    Args:
        again: Measure what is kept of this machine once more.

    Raises:
        InputError: the snapshot cannot be read, or there is no such preset.
    """
    if other is None:
        from nimctl.probe import probe_machine

        return Machine(
            hardware=probe_machine(settings.environment, open_bandwidth_record(again=again)),
            engines=_list_image_engines(settings)
            or find_engines(settings.environment, settings.engines_dir, settings.engine_path),
            benches=read_benches(),
            memory=read_memory(),
        )
    from nimctl.probe import find_preset, read_snapshot

    if not Path(other).exists() and "/" not in other and not other.endswith(".json"):
        return Machine(
            hardware=find_preset(other),
            engines=_list_image_engines(settings) or _assume_engines(),
            source=f"preset {other}",
            engines_assumed=True,
            benches=read_benches(),
        )
    recorded = read_snapshot(Path(other))
    lines = recorded.extra.get("engines")
    return Machine(
        hardware=recorded.hardware,
        engines=_list_image_engines(settings)
        or (
            _assume_engines()
            if lines is None
            else tuple(_read_engine(line, other) for line in lines)
        ),
        source=other,
        engines_assumed=lines is None,
        benches=read_benches(),
    )


def require_dry_run(other: str | None, *, dry_run: bool) -> None:
    """Refuse to start anything for a machine that is not this one.

    Raises:
        InputError: another machine was named and something would be started.
    """
    if other is not None and not dry_run:
        raise InputError(
            f"nothing can be served on another machine ({other})", hint="add --dry-run"
        )


def _assume_engines() -> tuple[InstalledEngine, ...]:
    """Every engine, for a machine that does not say which it has."""
    return tuple(
        InstalledEngine(
            name=traits.name, version=None, origin="assumption", program=(), devices=traits.devices
        )
        for traits in TRAITS.values()
    )


def describe_engines(engines: tuple[InstalledEngine, ...]) -> list[dict[str, object]]:
    """The engines as a snapshot keeps them; programs are paths of this machine and stay out."""
    return [
        {
            "name": engine.name,
            "version": engine.version,
            "origin": engine.origin,
            "devices": list(engine.devices),
        }
        for engine in engines
    ]


def _read_engine(line: object, snapshot: str) -> InstalledEngine:
    match line:
        case {
            "name": str() as name,
            "version": str() | None as version,
            "origin": str() as origin,
            "devices": list() as devices,
        } if name in TRAITS and set(devices) <= {"gpu", "cpu"}:
            return InstalledEngine(
                name=TRAITS[name].name,
                version=version,
                origin=origin,
                program=(),
                devices=tuple(devices),
            )
        case _:
            raise InputError(f"{snapshot}: not an engine: {line!r}")


def open_catalog(settings: Settings) -> Catalog:
    """The shipped manifests, those that came with models of other machines, and the user's own.

    Raises:
        ManifestError: a file has faults.
    """
    return load_catalog(settings.manifest_dirs, carried=list_manifests(settings.cache_dir))


def find_model(catalog: Catalog, settings: Settings, argument: str | None) -> Manifest:
    """The model a command was given, or the one the settings name: by its name or its address.

    Raises:
        InputError: none was given, or there is no such model.
        UnjudgedModelError: all that is known is a NIM manifest, and that says too little.
        FetchError: the place it was named by cannot be looked at.
    """
    name = argument or settings.model
    if name is None:
        raise InputError(
            "no model was named",
            hint="name one, e.g. smollm2-135m-instruct; `nimctl list-profiles` shows all",
        )
    if is_address(name):
        from nimctl.cli.bare_model import read_bare_model

        return read_bare_model(name, settings, catalog)
    try:
        return catalog.find(name)
    except UnjudgedModelError as error:
        from nimctl.cli.bare_model import complete_model

        return complete_model(error.unjudged, settings)


def make_wish(settings: Settings, gpus: str | None) -> Wish:
    """What the user asked for, from the settings and the list of GPUs.

    Raises:
        InputError: the list of GPUs is none of numbers or UUIDs, or the program named is no engine,
            or not the one that is asked for.
    """
    return Wish(
        profile=settings.profile,
        engine=_name_engine(settings),
        precision=settings.precision,
        goal=settings.goal,
        context_length=settings.context_length,
        concurrency=settings.concurrency,
        kv_precision=settings.kv_precision,
        tensor_parallel=settings.tensor_parallel,
        memory_share=settings.memory_share,
        gpus=None if gpus is None else _parse_gpus(gpus),
        lora=settings.lora or settings.lora_dir is not None or bool(settings.lora_adapters),
        allow_cpu=settings.allow_cpu,
        options=read_options(settings),
    )


def _name_engine(settings: Settings) -> EngineName | None:
    """The engine asked for: by its name, or by its program."""
    if settings.engine_path is None:
        return settings.engine
    name = read_engine_at(settings.engine_path).name
    if settings.engine not in (None, name):
        raise InputError(
            f"{settings.engine_path} is {TRAITS[name].title}, and {settings.engine} was asked for"
        )
    return name


def _parse_gpus(text: str) -> tuple[int | str, ...] | None:
    """Numbers and UUIDs, and the words `all` and `none`, as `NVIDIA_VISIBLE_DEVICES` has them."""
    words = {"all": None, "none": ()}
    if text.strip() in words:
        return words[text.strip()]
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not (part.isdigit() or _UUID.fullmatch(part))]
    if wrong:
        raise InputError(
            f"--gpus {text!r} is not a list of GPUs: {wrong[0]!r} is neither a number nor a UUID",
            hint="e.g. --gpus 0,1 or --gpus GPU-8b6a1f2c; `nvidia-smi -L` lists both",
        )
    return tuple(int(part) if part.isdigit() else part for part in parts)


def judge(manifest: Manifest, machine: Machine, wish: Wish, settings: Settings) -> Selection:
    """Every profile of the model judged for this machine and wish.

    Every command that chooses one comes here, so that all of them know the same speeds.
    """
    return judge_all((manifest,), machine, wish, settings, live=True)[0]


def judge_all(
    manifests: tuple[Manifest, ...],
    machine: Machine,
    wish: Wish,
    settings: Settings,
    *,
    live: bool = False,
) -> tuple[Selection, ...]:
    """Every profile of every model judged for this machine and wish.

    Of another machine nothing is known of its disk, and of who is logged in there.

    Args:
        live: Whether speeds that are not shipped are predicted now, which takes seconds for the
            first on a GPU.
    """
    if machine.source is None:
        supplies: Iterable[Supply | None] = read_supplies(manifests, settings)
    else:
        supplies = [None] * len(manifests)
    return tuple(
        _judge(manifest, machine, wish, supply, forecast_live if live else forecast)
        for manifest, supply in zip(manifests, supplies, strict=True)
    )


def _judge(
    manifest: Manifest, machine: Machine, wish: Wish, supply: Supply | None, forecast: Forecast
) -> Selection:
    selection = select(
        manifest,
        machine.hardware,
        wish,
        engines=TRAITS,
        installed=machine.engines,
        forecast=forecast,
        supply=supply,
    )
    ranked = use_benches(selection, manifest, machine.hardware, machine.engines, machine.benches)
    return use_held(ranked, machine.hardware, machine.engines, machine.memory)


def forecast(shape: Shape, profile: Profile, gpu: str, traffic: Traffic) -> SpeedFigure | None:
    """What is shipped about a profile's speed on a GPU of that short name."""
    from nimctl.evidence import find_prediction

    return find_prediction(
        shape,
        gpu=gpu,
        engine=profile.engine,
        precision=profile.precision,
        tensor_parallel=profile.tensor_parallel,
        traffic=traffic,
    )


def forecast_live(shape: Shape, profile: Profile, gpu: str, traffic: Traffic) -> SpeedFigure | None:
    """The same, and what the extra `predict` can tell where nothing is shipped."""
    shipped = forecast(shape, profile, gpu, traffic)
    if shipped is not None:
        return shipped
    from nimctl.evidence.live import predict_live

    return predict_live(
        shape,
        gpu=gpu,
        engine=profile.engine,
        precision=profile.precision,
        tensor_parallel=profile.tensor_parallel,
        traffic=traffic,
    )
