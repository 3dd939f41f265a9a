"""Every fault of a manifest file, all at once, each with its line."""

import pytest
from manifest_files import MANIFEST

from nimctl.catalog.parse import parse_manifest
from nimctl.catalog.sheet import MAX_BYTES
from nimctl.errors import ManifestError


def faults_of(text: str | bytes, model: str = "acme/llama-8b") -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ManifestError) as caught:
        parse_manifest(content, origin="m.yaml", model=model)
    return caught.value.message.splitlines()


MANY_FAULTS = """\
schema: nimctl-manifest/1
model: acme/llama-8b
titel: Acme Llama 8B
licence: Apache-2.0
licence: MIT
shape:
  architecture: LlamaForCausalLM
  parameters: -5
  hidden_size: "4096"
  attention_heads: 32
  vocab_size: 128_256
  max_context_length: 8192
  kv: {layers: 32, kv_heads: 8, head_dims: 128}
artifacts:
  bf16:
    source: "huggingface://acme/llama-8b"
    format: safetensor
    weight_bytes: 16_060_522_496
    download_bytes: yes
  q4_k_m:
    source: "hf://acme/llama-8b-gguf"
    format: gguf
    weight_bytes: 4_912_898_048
    files:
      - {path: ../model.gguf, size_bytes: 4_920_734_272, digest: "sha256:abc"}
  spare: {source: "hf://acme/x", format: gguf, weight_bytes: 1}
profiles:
  - {engine: vlm, precision: bf16}
  - {engine: vllm, precision: [bf16, fp8], lora: 1}
  - {engine: vllm, precision: bf16, tensor_parallel: [1, 2]}
  - {engine: llama.cpp, precision: q4_k_n}
  - {engine: vllm, precision: [fp8, bf16], tensor_parallel: 2}
"""


def test_all_faults_of_a_file_are_listed_at_once_with_their_lines():
    assert faults_of(MANY_FAULTS) == [
        "m.yaml:1: title is missing",
        "m.yaml:3: unknown key titel; did you mean title?",
        "m.yaml:5: the key 'licence' stands twice, first on line 4",
        "m.yaml:8: shape.parameters must be greater than 0, not -5",
        "m.yaml:9: shape.hidden_size must be a whole number, not '4096'",
        "m.yaml:13: shape.kv.head_dim is missing",
        "m.yaml:13: unknown key shape.kv.head_dims; did you mean head_dim?",
        "m.yaml:16: artifacts.bf16.source: 'huggingface://acme/llama-8b' is not a source; it must "
        "start with one of hf://, ngc://, pypi:, https://, http://, file://, s3://, gs://, az://, "
        "modelscope://, oci://",
        "m.yaml:17: artifacts.bf16.format must be 'safetensors', 'gguf' or 'tensorrt_engine', "
        "not 'safetensor'",
        "m.yaml:19: artifacts.bf16.download_bytes must be a whole number, not 'yes'",
        "m.yaml:25: artifacts.q4_k_m.files[0].digest: 'sha256:abc' needs 64 lower-case hexadecimal "
        "digits",
        "m.yaml:25: artifacts.q4_k_m.files[0].path: the file name '../model.gguf' could leave its "
        "folder; it is refused",
        "m.yaml:26: artifacts.spare: download_bytes is missing, and no files are pinned to add it "
        "up from",
        "m.yaml:28: profiles[0].engine must be 'tensorrt_llm', 'vllm', 'sglang' or 'llama.cpp', "
        "not 'vlm'",
        "m.yaml:29: profiles[1].lora must be true or false, not 1",
        "m.yaml:31: profiles[3].precision names no artifact: 'q4_k_n'; did you mean q4_k_m?",
        "m.yaml:32: profiles[4] repeats vllm bf16 tensor_parallel 2 of line 30",
        "m.yaml:32: profiles[4].precision names no artifact: 'fp8'; known are bf16, q4_k_m, spare",
    ]


@pytest.mark.parametrize(
    ("old", "new", "place", "fault"),
    [
        ("model: acme", "model: Acme", "model:", "'Acme/llama-8b' is not `publisher/name` in"),
        ("title: Acme Llama 8B", "title:", "title:", "title must be text, and there is no value"),
        ("licence: Apache-2.0", "licence: ''", "licence:", "licence must not be empty"),
        ("aliases: [acme-org/Acme-Llama-8B]", "aliases: x", "aliases:", "must be a list, not 'x'"),
        (
            "attention_heads: 32",
            "attention_heads: 30",
            "shape:",
            "30 attention heads do not divide",
        ),
        ("{layers: 32, kv_heads: 8, head_dim: 128}", "5", "kv:", "shape.kv must be a mapping"),
        ("layers: 32", "layers: 32.0", "kv:", "shape.kv.layers must be a whole number, not 32.0"),
        ("?file=model.gguf", "", "  q4_k_m:", "a file has no path, and the source names none"),
        ("{size", "{path: o.gguf, size", "  q4_k_m:", "the source names model.gguf, the files o."),
        ("size_bytes: 4_920_734_272", "size_bytes: 0", "size_bytes", "must be greater than 0"),
        ("bf16, tensor", "BF16, tensor", "engine: vllm", "'BF16' is not a precision in lower case"),
        ("[1, 2]", "[1, 3]", "engine: vllm", "tensor_parallel 3 does not split 32 heads evenly"),
        ("[1, 2]", "[]", "engine: vllm", "tensor_parallel must not be empty"),
        ("[1, 2]", str([1] * 17), "engine: vllm", "tensor_parallel has too many values"),
        ("[1, 2]", "[1, 1]", "engine: vllm", "profiles[0] repeats vllm bf16"),
        ("[1, 2]", "0", "engine: vllm", "tensor_parallel must be greater than 0, not 0"),
        ("[1, 2]", "true", "engine: vllm", "tensor_parallel must be a whole number, not True"),
        ("[latency", "[latecy", "engine: tens", "must be 'latency' or 'throughput', not 'latecy'"),
        ("q4_k_m}", "q4_k_m, artifact: q4}", "llama.cpp", "artifact names no artifact: 'q4'"),
        ("q4_k_m}", "q4_k_m, gpu: H100}", "llama.cpp", "gpu and gpu_device belong together"),
        ("q4_k_m}", "q4_k_m, gpu_device: 10de}", "llama.cpp", "'10de' is not a PCI device and"),
    ],
)
def test_each_fault_is_named_on_its_line(old, new, place, fault):
    text = MANIFEST.replace(old, new)
    assert text != MANIFEST
    (found,) = faults_of(text)
    line = next(n for n, line in enumerate(text.splitlines(), start=1) if place in line)
    assert found.startswith(f"m.yaml:{line}: ")
    assert fault in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "m.yaml:1: the file is empty"),
        ("just text", "m.yaml:1: not a manifest: it must say `schema: nimctl-manifest/1`"),
        ("a: 1\nschema: nimctl-manifest/9\n", "m.yaml:2: not a manifest: it must say "
         "`schema: nimctl-manifest/1`, not nimctl-manifest/9"),
        (b"a: 1\nb: \xff\n", "m.yaml:2: not text in UTF-8"),
        (b"a" * (MAX_BYTES + 1), "m.yaml:1: larger than 8 MiB: this is no manifest"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_has_one_fault(text, fault):
    assert faults_of(text) == [fault]


def test_a_fault_is_one_line_whatever_a_key_holds():
    assert faults_of(MANIFEST + '"ti\\ntle": x\n') == [
        f"m.yaml:{len(MANIFEST.splitlines()) + 1}: unknown key 'ti\\ntle'; did you mean title?"
    ]


def test_a_file_must_lie_where_its_model_belongs():
    assert faults_of(MANIFEST, model="acme/other") == [
        "m.yaml:2: model is acme/llama-8b, but the file lies where acme/other belongs"
    ]
