"""Writes the real GGUF model as 16-bit safetensors, which vLLM loads.

    PYTHON tests/e2e/smollm2_safetensors.py FILE.gguf FOLDER

PYTHON is the interpreter of an environment with torch and transformers, as `nimctl engines install
vllm` makes one; `make_safetensors` also brings the two small packages that it lacks.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_PACKAGES = ("accelerate>=1,<2", "gguf>=0.19,<1")


def make_safetensors(python: Path, gguf: Path, folder: Path) -> None:
    """Run this file with the interpreter of vLLM's environment; about 20 s."""
    with tempfile.TemporaryDirectory() as packages:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages)
        subprocess.run((*pip, *_PACKAGES), check=True, capture_output=True)
        subprocess.run(
            (str(python), __file__, str(gguf), str(folder)),
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": packages, "HF_HUB_OFFLINE": "1"},
        )


def write_safetensors(gguf: Path, folder: Path) -> None:
    """The weights, the config and the tokenizer of `gguf`, dequantised, into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


if __name__ == "__main__":
    write_safetensors(Path(sys.argv[1]), Path(sys.argv[2]))
