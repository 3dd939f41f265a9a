"""A LoRA adapter for SmolLM2 of a few hundred kilobytes, which changes what it answers."""

import array
import json
import random

HIDDEN, LAYERS, RANK = 576, 30, 4
PROJECTIONS = {"q_proj": 576, "v_proj": 192}
"""What is adapted, and how wide its output is: 9 heads of 64, and 3 of them for the values."""

COMMON = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": list(PROJECTIONS),
}


def write_adapter(folder, rank=RANK):
    """Write an adapter of random weights, the same for each rank, into a new `folder`."""
    folder.mkdir(parents=True)
    config = COMMON | {"r": rank, "lora_alpha": 8 * rank}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    drawn = random.Random(rank)
    tensors, body = {}, bytearray()
    for layer in range(LAYERS):
        for name, width in PROJECTIONS.items():
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            for part, shape in (("lora_A", (rank, HIDDEN)), ("lora_B", (width, rank))):
                values = (drawn.uniform(-0.1, 0.1) for _ in range(shape[0] * shape[1]))
                begin = len(body)
                body += array.array("f", values).tobytes()
                tensors[f"{stem}.{part}.weight"] = {
                    "dtype": "F32",
                    "shape": shape,
                    "data_offsets": (begin, len(body)),
                }
    head = json.dumps(tensors).encode()
    content = len(head).to_bytes(8, "little") + head + body
    (folder / "adapter_model.safetensors").write_bytes(content)
    return folder
