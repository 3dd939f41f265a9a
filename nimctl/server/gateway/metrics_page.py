"""The page that Prometheus reads: NIM 1.x's figures, the gateway's own, and the engine's families.

A figure of NIM's is the engine's own where the engine has it, under whatever name; else it is what
the gateway measured. One that neither knows is not there, rather than wrong.
"""

from collections.abc import Mapping

from nimctl.core.surface import FigureSource
from nimctl.server.gateway.config import GpuFigures
from nimctl.server.gateway.exposition import (
    Family,
    Sample,
    counter,
    gauge,
    read_families,
    render_families,
)
from nimctl.server.gateway.metrics import Metrics
from nimctl.server.gateway.service import Service

_OWN = "nimctl_gateway_"


def render_page(service: Service, *, engine_page: str, gpus: tuple[GpuFigures, ...] = ()) -> str:
    """All figures; of the engine's page what is of the format and not already there."""
    theirs = read_families(engine_page)
    own = [
        _find(theirs, family, service.model.offer.figures)
        for family in _measured(service.metrics, service.model.sequences, service.admission.waiting)
    ]
    own += [*_gateway(service), *service.metrics.engine.families(), *_tell_gpus(gpus)]
    taken = {name for family in own for name in _series(family)}
    rest = [family for family in theirs.values() if not _series(family) & taken]
    return render_families([*own, *rest])


def _find(
    theirs: Mapping[str, Family], measured: Family, sources: tuple[FigureSource, ...]
) -> Family:
    """The engine's own figure for a measured one, if it shows it."""
    for source in sources:
        found = [theirs[name] for name in source.families if name in theirs]
        if source.name != measured.name or len(found) < len(source.families):
            continue
        if len(found) == 1:
            return found[0].renamed(measured.name, measured.help_text)
        total = sum(family.total() for family in found)
        samples = [Sample(value=str(total))]
        return Family(measured.name, found[0].kind, measured.help_text, samples)
    return measured


def _series(family: Family) -> set[str]:
    """Every name that a sample of a family has, and its own."""
    return {family.name, *(family.name + sample.suffix for sample in family.samples)}


def _measured(metrics: Metrics, sequences: int | None, queued: int) -> list[Family]:
    """NIM 1.x's figures as far as a gateway can measure them."""
    running = metrics.running if sequences is None else min(metrics.running, sequences)
    families = [gauge("num_requests_running", "Requests that are being generated.", running)]
    if sequences is not None:
        waiting = metrics.running - running + queued
        families += [
            gauge("num_requests_waiting", "Requests that wait for their turn.", waiting),
            gauge("num_request_max", "Requests that are generated at once at most.", sequences),
            gauge(
                "gpu_cache_usage_perc",
                "Share of the key/value cache in use, 1 is all; of its sequences where the "
                "engine does not tell.",
                running / sequences,
            ),
        ]
    return [
        *families,
        counter("prompt_tokens_total", "Tokens read.", int(metrics.prompt_tokens.total)),
        counter(
            "generation_tokens_total", "Tokens generated.", int(metrics.generated_tokens.total)
        ),
        metrics.first_token.family("time_to_first_token_seconds", "To a stream's first token."),
        metrics.token_gap.family("time_per_output_token_seconds", "Between two tokens."),
        metrics.latency.family("e2e_request_latency_seconds", "From request to end of answer."),
        metrics.prompt_tokens.family("request_prompt_tokens", "Tokens read for a request."),
        metrics.generated_tokens.family("request_generation_tokens", "Tokens of an answer."),
        Family(
            "request_finish_total",
            "counter",
            "Answers by the reason for their end.",
            [
                Sample(labels=f'{{finished_reason="{reason}"}}', value=str(count))
                for reason, count in metrics.finished.items()
            ],
        ),
        counter("request_success_total", "Requests answered whole.", metrics.succeeded),
        counter("request_failure_total", "Requests refused or cut.", metrics.failed),
    ]


_GPU_FAMILIES = (
    ("gpu_utilization", "utilization", "Share of the time with a kernel running."),
    ("gpu_memory_used_bytes", "memory_used_bytes", "Memory in use, by anybody."),
    ("gpu_memory_total_bytes", "memory_total_bytes", "All memory."),
    ("gpu_power_usage_watts", "power_w", "Power now."),
    ("gpu_total_energy_consumption_joules", "energy_j", "Since the driver was loaded."),
)
"""NIM's names -> our attributes."""


def _tell_gpus(gpus: tuple[GpuFigures, ...]) -> list[Family]:
    """NIM 1.x's figures of the GPUs; what the driver does not tell is left out."""
    return [
        Family(
            name,
            "gauge",
            help_text,
            [
                Sample(labels=f'{{device_id="{gpu.index}"}}', value=str(value))
                for gpu in gpus
                if (value := getattr(gpu, attribute)) is not None
            ],
        )
        for name, attribute, help_text in _GPU_FAMILIES
    ]


def _gateway(service: Service) -> list[Family]:
    metrics = service.metrics
    ready = int(service.engine.address is not None)
    return [
        metrics.first_byte.family(f"{_OWN}time_to_first_byte_seconds", "To any first byte."),
        metrics.first_token.family(
            f"{_OWN}time_to_first_token_seconds", "To a stream's first token, at the gateway."
        ),
        metrics.token_gap.family(
            f"{_OWN}inter_token_latency_seconds", "Between two tokens, at the gateway."
        ),
        metrics.loop_lag.family(f"{_OWN}loop_lag_seconds", "How late a timer was."),
        gauge(f"{_OWN}ready", "1 while the engine generates.", ready),
        Family(
            f"{_OWN}engine_phase",
            "gauge",
            "1 for what the engine is doing now.",
            [Sample(labels=f'{{phase="{service.engine.phase}"}}', value="1")],
        ),
        gauge(f"{_OWN}connections", "Open clients.", metrics.connections),
        gauge(f"{_OWN}requests_in_engine", "Requests given to the engine.", metrics.running),
        gauge(f"{_OWN}requests_queued", "Not given to it yet.", service.admission.waiting),
        counter(f"{_OWN}received_bytes_total", "Bodies.", metrics.received_bytes),
        counter(f"{_OWN}sent_bytes_total", "Bodies.", metrics.sent_bytes),
        Family(
            f"{_OWN}tokens_total",
            "counter",
            "Tokens of answers that told them.",
            [
                Sample(labels='{kind="prompt"}', value=str(int(metrics.prompt_tokens.total))),
                Sample(
                    labels='{kind="generation"}', value=str(int(metrics.generated_tokens.total))
                ),
            ],
        ),
        Family(
            f"{_OWN}requests_total",
            "counter",
            "Finished requests.",
            [
                Sample(
                    labels=f'{{route="{route}",method="{method}",status="{status}",'
                    f'outcome="{outcome}"}}',
                    value=str(count),
                )
                for (route, method, status, outcome), count in metrics.requests.items()
            ],
        ),
        Family(
            f"{_OWN}answers_cut_total",
            "counter",
            "Answers that were not ended.",
            [Sample(labels=f'{{by="{by}"}}', value=str(n)) for by, n in metrics.cut.items()],
        ),
    ]
