"""A NIM dashboard's queries find their series, with the labels they group by, for every engine.

The forms are those of NVIDIA's example dashboards for NIM (NVIDIA/nim-deploy).
"""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nimctl.core.surface import Offer
from nimctl.engines import ENGINES
from nimctl.server.gateway import GpuFigures

WINDOW = "[5m]"
GAUGES = ("num_requests_running", "num_requests_waiting", "num_request_max", "gpu_cache_usage_perc")
COUNTERS = (
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "request_failure_total",
)
HISTOGRAMS = (
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "e2e_request_latency_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)
GPU_GAUGES = (
    "gpu_utilization",
    "gpu_memory_used_bytes",
    "gpu_memory_total_bytes",
    "gpu_power_usage_watts",
    "gpu_total_energy_consumption_joules",
)
GPU = GpuFigures(
    index=0,
    utilization=0.5,
    memory_used_bytes=1,
    memory_total_bytes=2,
    power_w=300.5,
    energy_j=1e6,
)
# The ways dashboards ask for the series of NIM 1.x's metrics page.
QUERIES = (
    *GAUGES,
    *(f"sum(rate({name}{WINDOW}))" for name in COUNTERS),
    *(
        f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket{WINDOW})))"
        for name in HISTOGRAMS
    ),
    *(f"rate({name}_sum{WINDOW}) / rate({name}_count{WINDOW})" for name in HISTOGRAMS),
    f"sum by (finished_reason) (rate(request_finish_total{WINDOW}))",
    *(f"avg by (device_id) ({name})" for name in GPU_GAUGES),
)
SERIES = re.compile(
    r"\b(?!rate\b|sum\b|by\b|le\b|histogram_quantile\b|finished_reason\b|device_id\b)[a-z]\w{5,}"
)
GROUPED = re.compile(r"by \((\w+)\)")


def series_of(page):
    """Names and label names of every sample, as Prometheus would store them."""
    return {
        (sample.name, label)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        for label in (None, *sample.labels)
    }


@pytest.mark.parametrize("engine_name", [None, *ENGINES])
def test_every_query_finds_its_series(engine_name, start_gateway, engine, raw):
    offer = Offer()
    if engine_name is not None:
        surface = ENGINES[engine_name].surface
        offer = Offer(title=surface.title, figures=surface.figures)
    gateway = start_gateway(
        engine, served={"sequences": 4, "offer": offer}, read_gpus=lambda: (GPU,)
    )
    options = {"stream": True, "stream_options": {"include_usage": True}}
    gateway.exchange(raw.post(headers=["Connection: close"], **options))
    page = raw.parse(gateway.exchange(raw.get("/v1/metrics")))[2].decode()
    found = series_of(page)
    for query in QUERIES:
        grouped = GROUPED.search(query)
        for name in SERIES.findall(query):
            label = grouped[1] if grouped else None
            assert (name, label) in found, query


def test_a_gpu_tells_what_it_can(start_gateway, engine, raw):
    gateway = start_gateway(engine, read_gpus=lambda: (GpuFigures(index=3, power_w=70.0),))
    page = raw.parse(gateway.exchange(raw.get("/v1/metrics")))[2].decode()
    assert 'gpu_power_usage_watts{device_id="3"} 70.0\n' in page
    assert "gpu_utilization" not in page
