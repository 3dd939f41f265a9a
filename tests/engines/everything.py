"""Launches that between them say everything nimctl can say to an engine."""

from dataclasses import replace
from pathlib import PurePosixPath

from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.core.engine import InstalledEngine
from nimctl.core.engine_address import EngineAddress
from nimctl.core.engine_options import EngineOptions, RefusedOptionError, write_option
from nimctl.core.plan import Adapter, Site
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import ENGINES, TRAITS
from nimctl.engines.model_families import FAMILIES

FOR_CPUS = InstalledEngine(
    name="vllm", version="0.32.0+cpu", origin="test", program=("vllm",), devices=("cpu",)
)
SAID = {
    "tool_parser": "hermes",
    "reasoning_parser": "qwen3",
    "chat_template": PurePosixPath("/t.jinja"),
    "prefix_caching": False,
    "chunked_prefill": True,
    "structured_output_backend": "xgrammar",
    "speculative_tokens": 3,
    "seed": 7,
    "trust_remote_code": True,
    "max_lora_rank": 64,
    "max_loras": 2,
    "max_cpu_loras": 4,
}
ADAPTERS = tuple(
    Adapter(name=name, path=PurePosixPath(f"/loras/{name}"), rank=8) for name in ("a", "b")
)


def list_launches(name, version):
    """Launches of one version of an engine with each option, each device and each address."""
    for options in _list_options(name, version):
        for plan in _list_plans(name):
            for address in _list_addresses(name):
                site = Site(
                    program=(name,),
                    weights_dir=PurePosixPath("/model"),
                    address=address,
                    served_names=("a", "b"),
                    state_dir=PurePosixPath("/state"),
                    version=version,
                    options=options,
                    adapters=ADAPTERS if plan.profile.lora else (),
                )
                yield ENGINES[name].launch(plan, site)


def _list_addresses(name):
    yield EngineAddress(port=4321)
    if TRAITS[name].listens_on_sockets:
        yield EngineAddress(uds="/s.sock")


def list_parsers(name):
    """Every parser of the table for an engine: those of tools, those of reasoning."""
    tools = {family.tools[name] for family in FAMILIES if name in family.tools}
    return tools, {family.reasoning[name] for family in FAMILIES if name in family.reasoning}


def _list_options(name, version):
    yield EngineOptions()
    for method in ("ngram", "mtp", "/draft"):
        asked = EngineOptions(**SAID, speculative=method)
        yield replace(asked, **dict.fromkeys(_find_refused(name, version, asked)))
        yield replace(EngineOptions(), prefix_caching=True)


def _find_refused(name, version, options):
    traits = TRAITS[name]
    for option, _ in options.list_asked():
        try:
            write_option(traits.options, traits.title, version, option, options)
        except RefusedOptionError:
            yield option


def _list_plans(name):
    wishes = [
        Wish(engine=name, lora=lora, kv_precision=kv_precision, concurrency=2, context_length=4096)
        for lora in (False, True)
        for kv_precision in (None, "fp8")
    ]
    profiles = [
        replace(one, engine=name, lora=lora, goal=goal)
        for one in PROFILES
        if one.engine == "vllm"
        for lora in (False, True)
        for goal in (None, "throughput")
    ]
    machines = [((make_gpu(),), ALL_ENGINES)]
    if name == "vllm":
        machines.append(((), (FOR_CPUS,)))
    for gpus, installed in machines:
        for wish in wishes:
            if not gpus and wish.kv_precision:
                continue
            judged = select(
                make_manifest(profiles),
                make_hardware(*gpus),
                wish,
                engines=TRAITS,
                installed=installed,
            )
            yield require_choice(judged).plan
