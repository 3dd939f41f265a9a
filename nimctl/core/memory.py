"""How much memory a model takes on one device: the formulas, as pure functions.

Sizes are bytes on ONE device. Weights, keys and values follow from the published tensor shapes.
Activations of vLLM and TensorRT-LLM follow aiconfigurator (`base_backend.py`: 2 x tokens x hidden
x factor, the factor falling with tensor parallelism), and where it is more, the feed-forward
layer: vLLM printed 2.07 GiB for 20,000 tokens of Llama 3.1 8B and 2.99 for 29,000 (its issue
10517), which `FactorActivations` puts at 2.06 and 2.99. llama.cpp's compute buffer is the formula
of `GraphActivations`, which gives what llama.cpp prints within 0.1 % for dense Llama models of six
shapes; `tests/benchmarks/memory_model.py` compares both again.
"""

from dataclasses import dataclass
from enum import Enum
from math import ceil, floor

from nimctl.core.manifest import CacheLayers, KvLayers, LatentLayers, Shape, StateLayers
from nimctl.core.units import MIB

_COMMUNICATION_BYTES = {1: 0, 2: 342 * MIB, 4: 392 * MIB, 8: 392 * MIB}
_MOST_COMMUNICATION_BYTES = max(_COMMUNICATION_BYTES.values())
_LONG = 2**30  # longer than any window


class BudgetRule(Enum):
    """How an engine decides how much of a device it may take.

    SHARE_OF_TOTAL: a share of all memory, which must be free at the start (vLLM).
    SHARE_OF_FREE: the cache takes a share of what is free after loading (TensorRT-LLM).
    FIXED_MARGIN: everything but a fixed margin (llama.cpp).
    """

    SHARE_OF_TOTAL = "share of total"
    SHARE_OF_FREE = "share of free"
    FIXED_MARGIN = "fixed margin"


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorActivations:
    """Intermediate results in 16 bits, as wide as the wider of two moments of the forward pass.

    One is `factor x hidden size`; the other the feed-forward layer, where both halves of its input
    and their product stand beside three times the hidden size.

    Attributes:
        factors: The factor by tensor parallelism; wider than listed takes the last one.
    """

    factors: tuple[tuple[int, float], ...]
    least_bytes: int

    def count_bytes(
        self, shape: Shape, *, tokens: int, context_length: int, tensor_parallel: int
    ) -> int:
        """Bytes of one forward pass."""
        del context_length  # paged attention keeps no mask
        factor = next((f for width, f in self.factors if width >= tensor_parallel), None)
        factor = self.factors[-1][1] if factor is None else factor
        feed_forward = (shape.feed_forward_size or 0) / tensor_parallel
        widest = max(factor * shape.hidden_size, 3 * (shape.hidden_size + feed_forward))
        return max(int(2 * tokens * widest), self.least_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphActivations:
    """llama.cpp's compute buffer: the widest moment of the graph, and the attention mask.

    A token takes 4 bytes x (5 x hidden + the larger of 3 x feed-forward and 2 x query width) + 32
    bytes of indices; the mask takes 2 bytes for each token of the batch and of the context.
    """

    def count_bytes(
        self, shape: Shape, *, tokens: int, context_length: int, tensor_parallel: int
    ) -> int:
        """Bytes of one forward pass."""
        del tensor_parallel  # layers are split whole
        heads = (layers.head_dim for layers in shape.kv if isinstance(layers, KvLayers))
        query_width = shape.attention_heads * max(heads, default=0)
        feed_forward = shape.feed_forward_size or 4 * shape.hidden_size
        widest = 5 * shape.hidden_size + max(3 * feed_forward, 2 * query_width)
        return tokens * (4 * widest + 32 + 2 * context_length)


@dataclass(frozen=True, kw_only=True, slots=True)
class KvPrecision:
    """A precision the keys and values can be kept in, and its bytes per element."""

    name: str
    element_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryTraits:
    """The constants of one engine that its memory use follows.

    Attributes:
        rule: How much of the device the engine allows itself.
        share: The largest share the two share rules use; of the third the largest of all memory.
        margin_bytes: What must stay free beside the engine.
        batch_tokens: Tokens one forward pass holds activations for.
        activations: What those tokens take.
        kv_precisions: What keys and values can be kept in, the default first.
        graph_bytes: Captured CUDA graphs and kernels' workspaces.
        context_bytes: The driver's context and the process itself.
        lora_bytes: Slots for adapters, where they are asked for.
        window_spare: Tokens a layer with a window holds beside it while prompts are read, once for
            all sequences, each with the device memory it holds from, rising; without any, the
            engine keeps the whole context in every layer.
        spread: How far activations, graphs and context may be from the formula, low and high.
    """

    rule: BudgetRule
    share: float = 1.0
    margin_bytes: int = 0
    batch_tokens: int
    activations: FactorActivations | GraphActivations
    kv_precisions: tuple[KvPrecision, ...]
    graph_bytes: int = 0
    context_bytes: int = 0
    lora_bytes: int = 0
    window_spare: tuple[tuple[int, int], ...] = ((0, 0),)
    spread: tuple[float, float] = (0.6, 1.5)

    def find_kv_precision(self, name: str | None) -> KvPrecision | None:
        """The precision of that name, the default for None, or None where there is no such."""
        if name is None:
            return self.kv_precisions[0]
        return next((one for one in self.kv_precisions if one.name == name), None)

    def find_window_spare(self, total_bytes: int) -> int | None:
        """The tokens of `window_spare` on a device of that size; None keeps the whole context."""
        found = None
        for least, tokens in self.window_spare:
            if total_bytes >= least:
                found = tokens
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What a model is asked to hold.

    Attributes:
        context_length: Tokens of one sequence.
        sequences: Sequences of that length at once.
        kv_element_bytes: Bytes of one element of a key or value.
    """

    context_length: int
    sequences: int
    kv_element_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How a model is spread over devices, and whether it serves adapters."""

    tensor_parallel: int
    pipeline_parallel: int
    lora: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryBudget:
    """What one device holds, in bytes; `margin` is what must stay free.

    Attributes:
        low: The least the engine itself may take, if the estimates are high.
        high: The most it may take, if they are low.
        measured: What the engine held here when it ran so before; None where it has not.
        calibrated_by: Starts here, with another context or other sequences, that `low` and `high`
            follow from.
    """

    weights: int
    kv_cache: int
    activations: int
    graphs: int
    communication: int
    context: int
    lora: int
    margin: int
    low: int
    high: int
    measured: int | None = None
    calibrated_by: int = 0

    @property
    def needed(self) -> int:
        """Everything the engine itself is expected to take."""
        return (
            self.weights
            + self.kv_cache
            + self.activations
            + self.graphs
            + self.communication
            + self.context
            + self.lora
        )

    @property
    def total(self) -> int:
        """What must be free on the device before the start."""
        return self.needed + self.margin


def count_kv_bytes_per_token(shape: Shape, *, tensor_parallel: int = 1) -> int:
    """Bytes one more token of a long context takes on one device, in 16 bits."""
    longer, long = (
        count_kv_bytes(shape, Load(context_length=n, sequences=1, kv_element_bytes=2), split)
        for n in (_LONG + 1, _LONG)
        for split in (Split(tensor_parallel=tensor_parallel, pipeline_parallel=1, lora=False),)
    )
    return longer - long


def count_kv_bytes(shape: Shape, load: Load, split: Split, *, window_spare: int | None = 0) -> int:
    """Bytes on one device that the sequences of a load keep.

    Args:
        window_spare: As `MemoryTraits.find_window_spare` gives it; 0 counts the windows alone.
    """
    kept = sum(
        layers.layers * _count_layer_bytes(layers, load, split.tensor_parallel, window_spare)
        for layers in shape.kv
    )
    return ceil(kept / split.pipeline_parallel)


def _count_layer_bytes(
    layers: CacheLayers, load: Load, tensor_parallel: int, window_spare: int | None
) -> int:
    """Bytes one layer keeps of all sequences.

    By head: (key width + value width) x heads on this device x tokens kept; heads are copied, not
    split, where there are more devices than heads. Latent: one vector a token, on every device.
    State: of fixed size, its heads split over the devices.
    """
    match layers:
        case KvLayers():
            heads = ceil(layers.kv_heads / tensor_parallel)
            width = layers.head_dim + (layers.value_dim or layers.head_dim)
            tokens = _count_kept_tokens(layers.window, load, window_spare)
            return ceil(heads * width * load.kv_element_bytes) * tokens
        case LatentLayers():
            vector = ceil(layers.width * load.kv_element_bytes)
            return (vector + layers.index_bytes) * load.context_length * load.sequences
        case StateLayers():
            return ceil(layers.state_bytes / tensor_parallel) * load.sequences


def _count_kept_tokens(window: int | None, load: Load, window_spare: int | None) -> int:
    """Tokens one layer keeps of all sequences.

    vLLM (`SlidingWindowSpec`, `ChunkedLocalAttentionSpec`) and llama.cpp (`llama-kv-cache-iswa`)
    keep a window or a chunk for each sequence, and the tokens just being read once.
    """
    whole = load.context_length * load.sequences
    if window is None or window_spare is None:
        return whole
    windows = min(window, load.context_length) * load.sequences
    return min(windows + window_spare, whole)


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """What one device holds of a model whatever the load, and how the rest follows from a load.

    Attributes:
        weights: Bytes of the weights on one device.
        communication: Buffers of the exchange between devices, in bytes.
        lora: Bytes of the slots for adapters.
        window_spare: As `MemoryTraits.find_window_spare` gives it.
    """

    shape: Shape
    traits: MemoryTraits
    split: Split
    free_bytes: int
    total_bytes: int
    weights: int
    communication: int
    lora: int
    window_spare: int | None

    def count_total(self, load: Load) -> int:
        """What must be free on the device before the start, in bytes: `make_budget(...).total`."""
        fixed = self.weights + self._count_estimated(self._count_activations(load))
        margin = _count_margin(self.traits, self.free_bytes, self.total_bytes, fixed)
        return fixed + self._count_kv(load) + margin

    def make_budget(self, load: Load) -> MemoryBudget:
        """The memory the device needs, and the margin that the engine's rule leaves free."""
        traits, activations, kv_cache = (
            self.traits,
            self._count_activations(load),
            self._count_kv(load),
        )
        estimated = self._count_estimated(activations)
        needed = self.weights + kv_cache + estimated
        less, more = traits.spread
        fixed = self.weights + estimated
        return MemoryBudget(
            weights=self.weights,
            kv_cache=kv_cache,
            activations=activations,
            graphs=traits.graph_bytes,
            communication=self.communication,
            context=traits.context_bytes,
            lora=self.lora,
            margin=_count_margin(traits, self.free_bytes, self.total_bytes, fixed),
            low=needed - int(estimated * (1 - less)),
            high=needed + int(estimated * (more - 1)),
        )

    def _count_kv(self, load: Load) -> int:
        return count_kv_bytes(self.shape, load, self.split, window_spare=self.window_spare)

    def _count_activations(self, load: Load) -> int:
        """Those of a forward pass, and one row of logits for each sequence."""
        passing = self.traits.activations.count_bytes(
            self.shape,
            tokens=self.traits.batch_tokens,
            context_length=load.context_length,
            tensor_parallel=self.split.tensor_parallel,
        )
        return passing + 4 * self.shape.vocab_size * load.sequences

    def _count_estimated(self, activations: int) -> int:
        """What no published tensor tells."""
        traits = self.traits
        return (
            activations + traits.graph_bytes + self.communication + traits.context_bytes + self.lora
        )


def make_footprint(
    shape: Shape,
    traits: MemoryTraits,
    *,
    weight_bytes: int,
    split: Split,
    free_bytes: int,
    total_bytes: int,
) -> Footprint:
    """What one of the devices that a model is split over holds of it."""
    devices = split.tensor_parallel * split.pipeline_parallel
    return Footprint(
        shape=shape,
        traits=traits,
        split=split,
        free_bytes=free_bytes,
        total_bytes=total_bytes,
        weights=ceil(weight_bytes / devices),
        communication=_COMMUNICATION_BYTES.get(devices, _MOST_COMMUNICATION_BYTES),
        lora=traits.lora_bytes if split.lora else 0,
        window_spare=traits.find_window_spare(total_bytes),
    )


def make_budget(
    shape: Shape,
    traits: MemoryTraits,
    *,
    weight_bytes: int,
    load: Load,
    split: Split,
    free_bytes: int,
    total_bytes: int,
) -> MemoryBudget:
    """The memory one device needs for one load, and the margin left of `free_bytes`."""
    footprint = make_footprint(
        shape,
        traits,
        weight_bytes=weight_bytes,
        split=split,
        free_bytes=free_bytes,
        total_bytes=total_bytes,
    )
    return footprint.make_budget(load)


def count_memory_share(traits: MemoryTraits, *, free_bytes: int, total_bytes: int) -> float:
    """The share of all memory a SHARE_OF_TOTAL engine may ask for, rounded down to 1 %.

    vLLM refuses to start when it is not free, so neighbours lower it.
    """
    free_share = max(free_bytes - traits.margin_bytes, 0) / max(total_bytes, 1)
    return floor(min(traits.share, free_share) * 100 + 1e-9) / 100


def _count_margin(traits: MemoryTraits, free_bytes: int, total_bytes: int, fixed_bytes: int) -> int:
    if traits.rule is BudgetRule.SHARE_OF_TOTAL:
        share = count_memory_share(traits, free_bytes=free_bytes, total_bytes=total_bytes)
        return free_bytes - int(share * total_bytes)
    if traits.rule is BudgetRule.SHARE_OF_FREE:
        left_bytes = max(free_bytes - fixed_bytes - traits.margin_bytes, 0)
        return traits.margin_bytes + int(left_bytes * (1 - traits.share))
    return max(traits.margin_bytes, free_bytes - int(traits.share * total_bytes))
