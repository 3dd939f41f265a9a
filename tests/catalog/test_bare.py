"""Profiles of a model nobody described: from names, configs and headers alone."""

import json
from collections.abc import Mapping

import pytest
from bare_weights import (
    LLAMA_8B,
    LLAMA_8B_PARAMETERS,
    SMALL,
    gguf_head,
    index_of,
    llama_tensors,
    safetensors_head,
)

from nimctl.catalog.bare import (
    BareModel,
    Headers,
    list_heads,
    make_bare_manifest,
    name_model,
    read_card,
)
from nimctl.catalog.bare_files import read_label
from nimctl.core.gguf_header import parse_gguf_header
from nimctl.core.safetensors_header import parse_safetensors_header
from nimctl.core.source import Digest, Listing, RemoteFile, parse_source_uri
from nimctl.errors import InputError

DIGEST = Digest(algorithm="sha256", hex="0" * 64)
CONFIG = {"config.json": json.dumps(SMALL).encode()}
ONE_FILE = {"model.safetensors": safetensors_head(llama_tensors(SMALL))}

Heads = Mapping[str, tuple[bytes, int]]


def make(
    heads: Heads,
    texts: Mapping[str, bytes] = CONFIG,
    *,
    address: str = "hf://Acme/Toy-1B",
    others: tuple[str, ...] = (),
    digest: Digest | None = DIGEST,
) -> BareModel:
    """The model of a listing with these files, of which only the headers asked for are given."""
    sizes = {path: size for path, (_, size) in heads.items()}
    sizes |= {path: len(text) for path, text in texts.items()} | dict.fromkeys(others, 1000)
    files = tuple(RemoteFile(path=p, size_bytes=n, digest=digest) for p, n in sizes.items())
    listing = Listing(uri=parse_source_uri(address), revision="c" * 40, files=files)
    wanted = {file.path for file in list_heads(listing, texts)}
    headers = Headers(
        safetensors={
            path: parse_safetensors_header(head, file_bytes=size)
            for path, (head, size) in heads.items()
            if path in wanted and path.endswith(".safetensors")
        },
        gguf={
            path: parse_gguf_header(head)
            for path, (head, _) in heads.items()
            if path in wanted and path.endswith(".gguf")
        },
    )
    return make_bare_manifest(listing, texts, headers)


def artifacts(model: BareModel):
    return {p.precision: p.artifact for p in model.manifest.profiles}


class TestSafetensors:
    def test_a_model_of_the_size_people_run(self):
        tensors = llama_tensors(LLAMA_8B)
        names = sorted(tensors)
        files = {
            "model-00001-of-00002.safetensors": {n: tensors[n] for n in names[:100]},
            "model-00002-of-00002.safetensors": {n: tensors[n] for n in names[100:]},
        }
        texts = {
            "config.json": json.dumps(LLAMA_8B).encode(),
            "model.safetensors.index.json": index_of(files),
        }
        heads = {path: safetensors_head(part) for path, part in files.items()}
        model = make(heads, texts, others=("tokenizer.json",))
        shape, (artifact,) = model.manifest.shape, artifacts(model).values()
        assert shape.parameters == LLAMA_8B_PARAMETERS
        assert artifact.weight_bytes == 2 * LLAMA_8B_PARAMETERS
        assert artifact.download_bytes == sum(size for _, size in heads.values()) + 1000 + sum(
            map(len, texts.values())
        )
        assert {p.description for p in model.manifest.profiles} == {
            *(f"tensorrt_llm-bf16-tp{n}-pp1-{g}" for n in (1, 2, 4, 8)
              for g in ("latency", "throughput")),
            *(f"vllm-bf16-tp{n}-pp1{lora}" for n in (1, 2, 4, 8) for lora in ("", "-lora")),
        }  # fmt: skip
        assert str(artifact.source) == f"hf://Acme/Toy-1B:{'c' * 40}"
        assert {pin.path for pin in artifact.files} == set(files)

    def test_only_what_an_engine_needs_is_brought(self):
        others = (
            "tokenizer.json", "tokenizer.model", "generation_config.json", "chat_template.jinja",
            "original/consolidated.00.pth", "original/tokenizer.model", "onnx/model.onnx",
            "pytorch_model.bin", "consolidated.safetensors", "adapter_model.safetensors",
            "modeling_toy.py", ".gitattributes", "LICENSE", "tokenizer.bin", "onnx/tokenizer.json",
        )  # fmt: skip
        (artifact,) = artifacts(make(ONE_FILE, others=others)).values()
        assert set(artifact.include) == {
            "model.safetensors", "config.json", "tokenizer.json", "tokenizer.model",
            "generation_config.json", "chat_template.jinja",
        }  # fmt: skip

    @pytest.mark.parametrize(("declared", "known"), [("FP8", "fp8"), (None, None), ("XYZ", None)])
    def test_the_declared_precision_of_keys_and_values_is_kept(self, declared, known):
        quantization = {"quant_algo": "FP8", "kv_cache_quant_algo": declared}
        texts = CONFIG | {
            "hf_quant_config.json": json.dumps({"quantization": quantization}).encode()
        }
        tensors = llama_tensors(SMALL, dtype="F8_E4M3")
        model = make({"model.safetensors": safetensors_head(tensors)}, texts)
        assert artifacts(model)["fp8"].kv_precision == known

    def test_heads_that_do_not_divide_leave_fewer_widths(self):
        config = SMALL | {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3}
        model = make(
            {"model.safetensors": safetensors_head(llama_tensors(config))},
            {"config.json": json.dumps(config).encode()},
        )
        assert {p.tensor_parallel for p in model.manifest.profiles} == {1}

    @pytest.mark.parametrize(
        ("dtype", "extra", "precision", "engines"),
        [
            ("F16", {}, "fp16", {"tensorrt_llm", "vllm"}),
            ("F8_E4M3", {"quantization_config": {"quant_method": "fp8"}}, "fp8",
             {"tensorrt_llm", "vllm"}),
            ("F32", {"torch_dtype": "float32"}, "bf16", {"vllm"}),
        ],
    )  # fmt: skip
    def test_the_precision_is_the_declared_one_or_that_of_the_tensors(
        self, dtype, extra, precision, engines
    ):
        texts = {"config.json": json.dumps(SMALL | extra).encode()}
        tensors = llama_tensors(SMALL, dtype=dtype)
        model = make({"model.safetensors": safetensors_head(tensors)}, texts)
        assert {p.precision for p in model.manifest.profiles} == {precision}
        assert {p.engine for p in model.manifest.profiles} == engines
        element_bytes = 1 if precision == "fp8" else 2
        assert artifacts(model)[precision].weight_bytes == (
            element_bytes * model.manifest.shape.parameters
        )

    def test_words_that_pack_eight_weights_are_counted_as_eight(self):
        config = SMALL | {"quantization_config": {"quant_method": "awq", "bits": 4}}
        tensors = {
            name.replace("proj.weight", "proj.qweight"): (
                ("I32", (shape[0], shape[1] // 8)) if "proj" in name else ("F16", shape)
            )
            for name, (_, shape) in llama_tensors(SMALL).items()
        }
        plain, packed = make(ONE_FILE), make(
            {"model.safetensors": safetensors_head(tensors)},
            {"config.json": json.dumps(config).encode()},
        )  # fmt: skip
        assert set(artifacts(packed)) == {"int4"}
        assert packed.manifest.shape == plain.manifest.shape

    def test_an_embedding_model_is_for_vllm(self):
        model = make(ONE_FILE, others=("modules.json",))
        assert model.manifest.kind == "embedding"
        assert {p.engine for p in model.manifest.profiles} == {"vllm"}


class TestGguf:
    Q8, Q4 = gguf_head(), gguf_head(file_type=2, tensor_type=2)

    def test_one_header_is_enough_for_all_precisions(self):
        heads = {"toy-Q8_0.gguf": self.Q8, "toy-Q4_0.gguf": self.Q4, "mmproj-toy-f16.gguf": self.Q8}
        found = artifacts(make(heads, {}, others=("README.txt",)))
        for precision, (head, _) in (("q8_0", self.Q8), ("q4_0", self.Q4)):
            path = f"toy-{precision.upper()}.gguf"
            assert found[precision].weight_bytes == parse_gguf_header(head).tensor_bytes
            assert found[precision].single_file == path
            assert found[precision].source.file == path
        assert set(found) == {"q8_0", "q4_0"}

    def test_a_file_that_was_named_is_the_only_one(self):
        heads = {"toy-Q8_0.gguf": self.Q8, "toy-Q4_0.gguf": self.Q4}
        model = make(heads, {}, address="hf://Acme/Toy-GGUF?file=toy-Q8_0.gguf")
        assert set(artifacts(model)) == {"q8_0"}

    def test_a_name_that_sounds_like_something_else_counts_where_it_was_given(self):
        heads = {"my-draft-Q8_0.gguf": self.Q8, "toy-Q4_0.gguf": self.Q4}
        assert set(artifacts(make(heads, {}))) == {"q4_0"}
        model = make(heads, {}, address="hf://Acme/Toy-GGUF?file=my-draft-Q8_0.gguf")
        assert set(artifacts(model)) == {"q8_0"}

    def test_parts_stay_together_and_the_first_is_opened(self):
        parts = [gguf_head(split=(n, 2)) for n in range(2)]
        heads = {f"q8/toy-Q8_0-0000{n + 1}-of-00002.gguf": part for n, part in enumerate(parts)}
        (artifact,) = artifacts(make(heads, {})).values()
        assert artifact.single_file == "q8/toy-Q8_0-00001-of-00002.gguf"
        assert [pin.path for pin in artifact.files] == list(heads)
        assert artifact.weight_bytes == parse_gguf_header(self.Q8[0]).tensor_bytes

    def test_parts_without_digests_are_left_out_with_the_reason(self):
        heads = {
            f"toy-Q8_0-0000{n + 1}-of-00002.gguf": gguf_head(split=(n, 2)) for n in range(2)
        } | {"toy-Q4_0.gguf": self.Q4}
        model = make(heads, {}, digest=None)
        assert set(artifacts(model)) == {"q4_0"}
        assert "toy-Q8_0-00001-of-00002.gguf is left out" in model.notes[0]

    def test_a_part_alone_is_no_model(self):
        with pytest.raises(InputError, match="no whole model among them"):
            make({"toy-Q8_0-00001-of-00002.gguf": gguf_head(split=(0, 2))}, {})

    def test_one_profile_for_each_precision(self):
        heads = {"toy-Q8_0.gguf": self.Q8, "other/toy-Q8_0.gguf": self.Q8}
        model = make(heads, {})
        assert len(model.manifest.profiles) == 1
        assert len(model.notes) == 1

    def test_beside_an_unknown_checkpoint_it_is_still_tried(self):
        texts = {"config.json": json.dumps(SMALL | {"architectures": ["NewForCausalLM"]}).encode()}
        model = make({**ONE_FILE, "toy-Q4_0.gguf": self.Q4}, texts)
        assert set(artifacts(model)) == {"q4_0"}
        assert "NewForCausalLM" in model.notes[0]

    @pytest.mark.parametrize(
        ("name", "label"),
        [
            ("Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf", "q4_k_m"),
            ("smollm2-135m-instruct.Q4_1.gguf", "q4_1"),
            ("gemma-3-4b-it-IQ2_XXS.gguf", "iq2_xxs"),
            ("Qwen3-8B-UD-Q4_K_XL.gguf", "ud_q4_k_xl"),
            ("qwen2.5-7b-instruct-fp16.gguf", "fp16"),
            ("BF16/model.gguf", "bf16"),
            ("gpt-oss-20b-mxfp4.gguf", "mxfp4"),
            ("ggml-model-f32.gguf", "fp32"),
            ("toy.gguf", None),
        ],
    )
    def test_names_say_the_precision(self, name, label):
        assert read_label(name) == label


class TestRefusals:
    @pytest.mark.parametrize(
        ("heads", "texts", "others", "message"),
        [
            ({}, CONFIG, ("pytorch_model.bin",), "only as pickles"),
            ({}, {}, ("notes.txt",), "no .safetensors and no .gguf"),
            ({}, CONFIG, ("adapter_model.safetensors",), "an adapter for another model"),
            ({}, CONFIG, ("rank0.engine",), "an engine that TensorRT-LLM built before"),
            ({}, {}, ("mmproj-toy-f16.gguf",), "no whole model among them"),
            (ONE_FILE, {}, (), "no config.json"),
            (ONE_FILE, {"config.json": b"[]"}, (), "not a JSON object"),
            (ONE_FILE, {"config.json": b"{" * 99_999}, (), "not JSON"),
            (ONE_FILE, {"config.json": b"{}"}, (), "names no architectures"),
            (ONE_FILE, CONFIG | {"model.safetensors.index.json": b"{}"}, (), "no weight_map"),
            (ONE_FILE, {"config.json": json.dumps(
                SMALL | {"architectures": ["NewForCausalLM"]}).encode()}, (), "NewForCausalLM"),
            (ONE_FILE, {"config.json": json.dumps(
                SMALL | {"quantization_config": {"quant_method": "exl2"}}).encode()}, (), "exl2"),
            ({"toy.gguf": gguf_head(architecture="newarch")}, {}, (), "newarch"),
        ],
    )  # fmt: skip
    def test_the_reason_is_named(self, heads, texts, others, message):
        with pytest.raises(InputError) as caught:
            make(heads, texts, others=others)
        assert message in caught.value.message

    def test_an_unknown_architecture_comes_with_a_way_out(self):
        with pytest.raises(InputError) as caught:
            make({"toy.gguf": gguf_head(architecture="newarch")}, {})
        assert "--manifest-dir" in (caught.value.hint or "")

    def test_an_index_whose_files_are_missing_is_no_checkpoint(self):
        index = index_of({"model-00001-of-00002.safetensors": {"a": ("F16", (1,))}})
        with pytest.raises(InputError):
            make(
                {"model-00002-of-00002.safetensors": ONE_FILE["model.safetensors"]},
                CONFIG | {"model.safetensors.index.json": index},
            )


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("hf://HuggingFaceTB/SmolLM2-135M", "huggingfacetb/smollm2-135m"),
        ("ngc://nim/meta/llama-3.1-8b:1.0", "meta/llama-3.1-8b"),
        ("ngc://nim/meta/llama-3_1-8b:1.0", "meta/llama-3.1-8b"),
        ("ngc://nvidia/some_1b", "nvidia/some_1b"),
        ("/home/me/My Model", "local/my-model"),
        ("file:///home/me?file=Toy.Q4_1.gguf", "local/toy.q4_1"),
        ("file:///home/me?file=a/toy-00001-of-00003.gguf", "local/toy"),
    ],
)
def test_names_are_those_of_a_manifest(address, name):
    assert name_model(parse_source_uri(address))[0] == name


@pytest.mark.parametrize(
    ("card", "licence", "gated"),
    [
        (b"---\nlicense: apache-2.0\n---\n# Toy", "apache-2.0", False),
        (b"---\r\nlicense: other\r\nlicense_name: toy-1\r\n---\r\n", "toy-1", False),
        (b"---\nlicense: llama3.1\nextra_gated_prompt: read this\n---\n", "llama3.1", True),
        (b"# Toy\nlicense: mit\n", None, False),
        (b"---\ndata:\n  license: mit\n---\n", None, False),
        (b"\xff\xfe", None, False),
    ],
)
def test_the_card_says_the_licence(card, licence, gated):
    assert read_card(card) == (licence, gated)
