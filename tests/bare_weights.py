"""Safetensors and GGUF files with true headers and empty bodies, of whatever shape a test wants."""

import json
import struct
from collections.abc import Mapping
from math import prod

BITS = {"BF16": 16, "F16": 16, "F32": 32, "F8_E4M3": 8, "I32": 32}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]

SMALL: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 4,
    "vocab_size": 8192,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
LLAMA_8B = SMALL | {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
}
LLAMA_8B_PARAMETERS = 8_030_261_248
"""As the publisher counts them."""


def llama_tensors(config: Mapping[str, object], *, dtype: str = "BF16") -> Tensors:
    """Names, types and shapes of a Llama checkpoint of that config."""
    hidden, inner, layers, words = (
        int(str(config[name]))
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
    )
    kv = hidden // int(str(config["num_attention_heads"])) * int(str(config["num_key_value_heads"]))
    tensors = {
        "model.embed_tokens.weight": (words, hidden),
        "lm_head.weight": (words, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(layers):
        for name, shape in (
            ("self_attn.q_proj", (hidden, hidden)),
            ("self_attn.k_proj", (kv, hidden)),
            ("self_attn.v_proj", (kv, hidden)),
            ("self_attn.o_proj", (hidden, hidden)),
            ("mlp.gate_proj", (inner, hidden)),
            ("mlp.up_proj", (inner, hidden)),
            ("mlp.down_proj", (hidden, inner)),
            ("input_layernorm", (hidden,)),
            ("post_attention_layernorm", (hidden,)),
        ):
            tensors[f"model.layers.{layer}.{name}.weight"] = shape
    return {name: (dtype, shape) for name, shape in tensors.items()}


def safetensors_head(tensors: Tensors) -> tuple[bytes, int]:
    """The header of a file with these tensors, and the bytes of the whole file."""
    entries, place = {}, 0
    for name, (dtype, shape) in tensors.items():
        end = place + prod(shape) * BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    return head, len(head) + place


def safetensors_file(tensors: Tensors) -> bytes:
    """A whole file, its tensors all zeros."""
    head, size_bytes = safetensors_head(tensors)
    return head + bytes(size_bytes - len(head))


def index_of(files: Mapping[str, Tensors]) -> bytes:
    """`model.safetensors.index.json` of a checkpoint in several files."""
    places = {name: path for path, tensors in files.items() for name in tensors}
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": places}).encode()


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf_head(
    *, file_type: int = 7, tensor_type: int = 8, architecture: str = "llama", layers: int = 2,
    split: tuple[int, int] | None = None, texts: Mapping[str, str] | None = None,
) -> tuple[bytes, int]:  # fmt: skip
    """The header of a small model in GGUF, or of one part of it, and the bytes of the whole file.

    Args:
        file_type: As `general.file_type` numbers precisions: 7 is q8_0, 2 is q4_0.
        tensor_type: As ggml numbers types: 8 is q8_0 (34 bytes for 32 weights), 2 is q4_0 (18).
        split: Number of the part from 0 on, and how many there are.
        texts: More of its metadata.
    """
    numbers = {
        f"{architecture}.{name}": value
        for name, value in {
            "block_count": layers, "embedding_length": 512, "attention.head_count": 8,
            "attention.head_count_kv": 4, "context_length": 4096, "vocab_size": 1024,
            "feed_forward_length": 1024,
        }.items()
    }  # fmt: skip
    numbers["general.file_type"] = file_type
    part, parts = split or (0, 1)
    if split:
        numbers |= {"split.no": part, "split.count": parts}
    block_bytes = {8: 34, 2: 18}[tensor_type]
    mine = [i for i in range(layers) if i % parts == part]
    shapes = {f"blk.{i}.ffn_up.weight": (512, 1024) for i in mine}
    texts = {"general.architecture": architecture} | dict(texts or {})
    data = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(numbers) + len(texts))
    for key, text in texts.items():
        data += _text(key) + struct.pack("<I", 8) + _text(text)
    for key, number in numbers.items():
        data += _text(key) + struct.pack("<II", 4, number)
    place = 0
    for name, shape in shapes.items():
        data += _text(name) + struct.pack("<I2QIQ", 2, *shape, tensor_type, place)
        place += prod(shape) // 32 * block_bytes
    data += bytes(-len(data) % 32)
    return data, len(data) + place


def gguf_file(**kinds: object) -> bytes:
    """A whole file, its tensors all zeros."""
    head, size_bytes = gguf_head(**kinds)  # type: ignore[arg-type]
    return head + bytes(size_bytes - len(head))
