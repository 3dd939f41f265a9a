"""How fast a model would answer by the roofline: bytes moved over bandwidth, operations over rate.

One more token reads the active weights and the cache of every sequence once, or computes two
operations a weight, whichever takes longer; each layer adds the time to start its kernels. A
prompt computes two operations a weight and token. Tensor parallelism divides both and exchanges
the activations of each layer twice. The roofline is Williams, Waterman and Patterson, "Roofline"
(2009); the efficiencies below are fitted, and `tests/benchmarks/speed_model.py` tells how well.
"""

from dataclasses import dataclass, replace

from nimctl.core.gpu_table import GpuModel, find_gpu_model
from nimctl.core.hardware import Gpu, Host
from nimctl.core.manifest import Profile, Shape
from nimctl.core.memory import Load, Split, count_kv_bytes
from nimctl.core.names import EngineName, Goal
from nimctl.core.speed import MEASURING_TERMS, SpeedFigure, Traffic, unknown_speed

ACTIVATION_BYTES = 2
KV_ELEMENT_BYTES = 2
"""Keys and values in 16 bits, the default of every engine."""

_EXCHANGES = 4
"""Times the activations of a layer cross a link: two sums, each out and back in a ring."""

_NVLINK_BYTES_S = 450e9
_PCIE_BYTES_S = 32e9
"""One direction of NVLink 4 and of PCIe 4.0 x16, as aiconfigurator's system files have them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceSpeed:
    """What one device can do; a rate that is not known is None.

    Attributes:
        flop_s: Operations a second in the precision that the weights are multiplied in.
        link_bytes_s: To its neighbours, in one direction.
        name: For the source of a figure.
    """

    bandwidth_bytes_s: float
    flop_s: float | None
    link_bytes_s: float = _PCIE_BYTES_S
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Efficiency:
    """How near an engine comes to a device's rates.

    Attributes:
        bandwidth: Share of the memory bandwidth reached.
        compute: Share of the operations a second reached.
        layer_s: Time a layer of one step costs beside its bytes.
        prompt_layer_s: The same for a prompt that comes alone; under load it hides.
        expert_compute: Share of the operations a second reached by a mixture of experts.
        expert_layer_s: What choosing experts adds to `layer_s`.
    """

    bandwidth: float
    compute: float
    layer_s: float
    prompt_layer_s: float
    expert_compute: float
    expert_layer_s: float


FULL_EFFICIENCY = Efficiency(
    bandwidth=1, compute=1, layer_s=0, prompt_layer_s=0, expert_compute=1, expert_layer_s=0
)
"""For a device whose rates were themselves measured with a model."""

EFFICIENCIES: dict[EngineName, Efficiency] = {
    # Both fitted to the predictions of aiconfigurator 0.12.0 for the models of the catalogue.
    "tensorrt_llm": Efficiency(
        bandwidth=0.9,
        compute=0.5,
        layer_s=50e-6,
        prompt_layer_s=400e-6,
        expert_compute=0.25,
        expert_layer_s=30e-6,
    ),
    "vllm": Efficiency(
        bandwidth=0.9,
        compute=0.5,
        layer_s=60e-6,
        prompt_layer_s=800e-6,
        expert_compute=0.25,
        expert_layer_s=10e-6,
    ),
    # Tokens: fitted to 32 published results, which the benchmark lists. Prompts: the middle of six
    # results by X. Dai, which reach 0.6 to 1.0, and older ones that reach 0.1 to 0.3. No mixture
    # of experts is among them.
    "llama.cpp": Efficiency(
        bandwidth=0.9,
        compute=0.4,
        layer_s=130e-6,
        prompt_layer_s=0,
        expert_compute=0.2,
        expert_layer_s=0,
    ),
}

CPU_EFFICIENCIES: dict[EngineName, Efficiency] = {
    # Tokens: fitted to 12 published results of six CPUs, and to SmolLM2 on two cores; the benchmark
    # lists them. Prompts: `CORE_FLOP_S` is what llama.cpp itself reached.
    "llama.cpp": Efficiency(
        bandwidth=0.8,
        compute=1,
        layer_s=200e-6,
        prompt_layer_s=0,
        expert_compute=0.5,
        expert_layer_s=0,
    ),
    # Tokens: fitted to SmolLM2 in bf16 on two cores. Prompts: nothing was found to fit.
    "vllm": Efficiency(
        bandwidth=0.8,
        compute=0.5,
        layer_s=650e-6,
        prompt_layer_s=0,
        expert_compute=0.25,
        expert_layer_s=0,
    ),
}
"""Shares of the memory bandwidth as the probe measures it, not as a datasheet has it."""

CORE_FLOP_S = (("avx2", 60e9), ("dotprod", 40e9))
"""Operations a second of one core on a prompt, by the first instruction set that it has.

The middle of published results of llama.cpp, which the benchmark lists: they reach 0.6 to 2 times
as much. Builds for AVX-512 reach twice as much; the build that nimctl installs is for AVX2.
"""

_RATES = {"fp8": ("fp8", "half"), "nvfp4": ("fp4", "half")}


def read_gpu_speed(model: GpuModel, precision: str) -> DeviceSpeed | None:
    """A GPU's rates for weights of `precision`; None where not even its bandwidth is known.

    Weights narrower than the tensor cores can multiply are widened to 16 bits first.
    """
    if model.bandwidth_bytes_s is None:
        return None
    rates = {"fp8": model.fp8_flop_s, "fp4": model.fp4_flop_s, "half": model.half_flop_s}
    wanted = _RATES.get(precision, ("half",))
    return DeviceSpeed(
        bandwidth_bytes_s=model.bandwidth_bytes_s,
        flop_s=next((rates[name] for name in wanted if rates[name] is not None), None),
        link_bytes_s=_NVLINK_BYTES_S if model.nvlink == "switch" else _PCIE_BYTES_S,
        name=model.short_name,
    )


def calibrate_device(
    measured: SpeedFigure, shape: Shape, *, weight_bytes: int, name: str
) -> DeviceSpeed | None:
    """The rates a device reached with one model, to estimate another on the same device.

    A model tells more than the memory's bandwidth does: whatever else holds the device back is in
    it. A small model understates a large one's, as its time is not all bytes. None where the
    figure has no time between tokens, or where more than one request ran at a time.
    """
    if not measured.inter_token_latency_s or measured.traffic.concurrency != 1:
        return None
    bytes_moved = _count_bytes(shape, weight_bytes, 1, measured.traffic, 1)
    prompt_s = measured.time_to_first_token_s
    return DeviceSpeed(
        bandwidth_bytes_s=bytes_moved / measured.inter_token_latency_s,
        flop_s=_count_operations(shape, measured.traffic.prompt_tokens) / prompt_s
        if prompt_s
        else None,
        name=name,
    )


def estimate_on_gpus(shape: Shape, profile: Profile, gpu: Gpu, traffic: Traffic) -> SpeedFigure:
    """The roofline of a profile on GPUs like `gpu`, or why there is none."""
    if gpu.mig_enabled:
        return unknown_speed(traffic, "the share of the rates that a MIG slice has is not known")
    model = find_gpu_model(gpu.name, gpu.pci_device_id)
    device = read_gpu_speed(model, profile.precision) if model else None
    efficiency = EFFICIENCIES.get(profile.engine)
    if efficiency is None:
        return unknown_speed(traffic, f"what {profile.engine} makes of a GPU's rates is not known")
    if device is None:
        return unknown_speed(traffic, f"the rates of {gpu.name or 'this GPU'} are not known")
    return estimate_speed(
        shape,
        weight_bytes=profile.artifact.weight_bytes,
        device=device,
        efficiency=efficiency,
        traffic=traffic,
        tensor_parallel=profile.tensor_parallel,
    )


def read_cpu_speed(host: Host, threads: int) -> DeviceSpeed | None:
    """A processor's rates with so many threads; None where its memory was not measured."""
    if host.memory_bandwidth_bytes_s is None:
        return None
    rates = (rate for feature, rate in CORE_FLOP_S if feature in host.cpu_features)
    core_flop_s = next(rates, None)
    return DeviceSpeed(
        bandwidth_bytes_s=host.memory_bandwidth_bytes_s,
        flop_s=None if core_flop_s is None else threads * core_flop_s,
        name=host.cpu_name or host.architecture,
    )


def estimate_on_cpu(
    shape: Shape, profile: Profile, host: Host, threads: int, traffic: Traffic
) -> SpeedFigure:
    """The roofline of a profile on the processor, or why there is none.

    A CPU is busy with fewer requests than a GPU: under load it is estimated for as many as a
    measurement must have had to count for throughput.
    """
    device = read_cpu_speed(host, threads)
    efficiency = CPU_EFFICIENCIES.get(profile.engine)
    if efficiency is None:
        return unknown_speed(traffic, "the engine does not run on a CPU")
    if device is None:
        return unknown_speed(traffic, "the bandwidth of this CPU's memory was not measured")
    goal: Goal = "latency" if traffic.concurrency == 1 else "throughput"
    least = MEASURING_TERMS["cpu", goal].least_concurrency
    return estimate_speed(
        shape,
        weight_bytes=profile.artifact.weight_bytes,
        device=device,
        efficiency=efficiency,
        traffic=replace(traffic, concurrency=least),
    )


def estimate_speed(
    shape: Shape,
    *,
    weight_bytes: int,
    device: DeviceSpeed,
    efficiency: Efficiency,
    traffic: Traffic,
    tensor_parallel: int = 1,
) -> SpeedFigure:
    """The roofline of one profile under one traffic.

    Pipeline stages take turns on one token, so only tensor parallelism counts. Under load a
    prompt waits for one other on average, and prompts of the others come between two tokens.
    Without the device's operations a second only the time between tokens of one request is told.
    """
    step_s = _count_step_s(shape, weight_bytes, tensor_parallel, device, efficiency, traffic)
    prompt_s = _count_prompt_s(shape, weight_bytes, tensor_parallel, device, efficiency, traffic)
    alone = traffic.concurrency == 1
    layers = count_layers(shape)
    if prompt_s is None:
        first_s, between_s, rate = None, step_s if alone else None, None
    elif alone:
        first_s, between_s = prompt_s + layers * efficiency.prompt_layer_s, step_s
        rate = traffic.output_tokens / (first_s + traffic.output_tokens * step_s)
    else:
        first_s = 2 * (prompt_s + layers * efficiency.prompt_layer_s)
        between_s = step_s + (traffic.concurrency - 1) * prompt_s / traffic.output_tokens
        others_s = traffic.output_tokens * between_s
        rate = traffic.concurrency * traffic.output_tokens / (prompt_s + others_s)
    return SpeedFigure(
        traffic=traffic,
        time_to_first_token_s=first_s,
        inter_token_latency_s=between_s,
        tokens_per_second=rate,
        origin="roofline",
        source=f"bytes over bandwidth of {device.name}",
    )


def count_layers(shape: Shape) -> int:
    """Layers that keep something of the tokens before, which stand for all layers."""
    return sum(group.layers for group in shape.kv)


def _count_step_s(
    shape: Shape,
    weight_bytes: int,
    tensor_parallel: int,
    device: DeviceSpeed,
    efficiency: Efficiency,
    traffic: Traffic,
) -> float:
    """Seconds of one more token for every request."""
    bytes_moved = _count_bytes(shape, weight_bytes, tensor_parallel, traffic, traffic.concurrency)
    memory_s = bytes_moved / (device.bandwidth_bytes_s * efficiency.bandwidth)
    compute_s = 0.0
    if device.flop_s is not None:
        operations = _count_operations(shape, traffic.concurrency) / tensor_parallel
        compute_s = operations / (device.flop_s * _read_compute(shape, efficiency))
    layer_s = efficiency.layer_s + (efficiency.expert_layer_s if _has_experts(shape) else 0.0)
    return max(memory_s, compute_s) + count_layers(shape) * layer_s


def _count_prompt_s(
    shape: Shape,
    weight_bytes: int,
    tensor_parallel: int,
    device: DeviceSpeed,
    efficiency: Efficiency,
    traffic: Traffic,
) -> float | None:
    """Seconds of a prompt: its operations or the weights it reads, and its exchanges.

    Attention over the prompt is left out: at 1,000 tokens it is under 5 % of the operations of an
    8 B model.
    """
    if device.flop_s is None:
        return None
    operations = _count_operations(shape, traffic.prompt_tokens) / tensor_parallel
    compute_s = operations / (device.flop_s * _read_compute(shape, efficiency))
    bytes_read = weight_bytes * _count_share_read(shape, traffic.prompt_tokens) / tensor_parallel
    busy_s = max(compute_s, bytes_read / (device.bandwidth_bytes_s * efficiency.bandwidth))
    if tensor_parallel == 1:
        return busy_s
    activation_bytes = traffic.prompt_tokens * shape.hidden_size * ACTIVATION_BYTES
    exchanged_bytes = count_layers(shape) * _EXCHANGES * activation_bytes
    return busy_s + exchanged_bytes / device.link_bytes_s


def _count_bytes(
    shape: Shape, weight_bytes: int, tensor_parallel: int, traffic: Traffic, sequences: int
) -> float:
    """Bytes one device reads for one step: weights, and the cache half-way through the answer."""
    held = Load(
        context_length=traffic.prompt_tokens + traffic.output_tokens // 2,
        sequences=sequences,
        kv_element_bytes=KV_ELEMENT_BYTES,
    )
    split = Split(tensor_parallel=tensor_parallel, pipeline_parallel=1, lora=False)
    cache_bytes = count_kv_bytes(shape, held, split)
    share = _count_share_read(shape, sequences)
    return weight_bytes * share / tensor_parallel + cache_bytes


def _count_share_read(shape: Shape, tokens: int) -> float:
    """Share of the weights that some token needs.

    Of a mixture of experts one token needs `active / all`; tokens are taken to choose
    independently of each other.
    """
    return float(1 - (1 - _count_active(shape) / shape.parameters) ** tokens)


def _count_operations(shape: Shape, tokens: int) -> float:
    """A multiplication and an addition for each active weight and token."""
    return 2.0 * _count_active(shape) * tokens


def _count_active(shape: Shape) -> int:
    return shape.active_parameters or shape.parameters


def _has_experts(shape: Shape) -> bool:
    return _count_active(shape) < shape.parameters


def _read_compute(shape: Shape, efficiency: Efficiency) -> float:
    return efficiency.expert_compute if _has_experts(shape) else efficiency.compute
