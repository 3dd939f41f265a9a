"""The manifests that ship: all parse, their sums agree with their shapes, and they load fast."""

import re
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch

import pytest
import yaml

from nimctl.catalog import load_catalog, shipped_manifest_dir
from nimctl.core.manifest import (
    KvLayers,
    LatentLayers,
    Manifest,
    StateLayers,
    find_profile,
)
from nimctl.core.memory import count_kv_bytes_per_token

MANIFESTS = load_catalog().manifests()
BITS_PER_WEIGHT = {
    "bf16": (16, 16.02),
    "fp16": (16, 16.02),
    "fp8": (8, 10.2),  # what is not quantised, embeddings before all, weighs more in small models
    "q8_0": (8.5, 8.6),
    "q4_1": (5, 6),
    "q4_k_m": (4.5, 6.5),
    "int4": (4.1, 6),
    "nvfp4": (4.5, 8.5),  # attention stays in bf16 in some
    "mxfp4": (4.25, 5.3),
}
FAMILIES = (
    "meta/llama3-", "meta/llama-3.1-", "meta/llama-3.2-", "meta/llama-3.3-", "meta/llama-4-",
    "mistralai/mistral-7b-", "mistralai/mistral-nemo-", "mistralai/mistral-small-",
    "mistralai/mixtral-", "qwen/qwen2.5-", "qwen/qwen3-", "qwen/qwen3.5-", "google/gemma-3-",
    "google/gemma-4-", "microsoft/phi-4", "microsoft/phi-4-mini-", "openai/gpt-oss-20b",
    "openai/gpt-oss-120b", "deepseek-ai/deepseek-v3", "deepseek-ai/deepseek-r1",
    "deepseek-ai/deepseek-r1-distill-", "nvidia/nemotron-3-nano-", "nvidia/nemotron-3-super-",
    "ibm-granite/granite-", "zai-org/glm-", "moonshotai/kimi-k2-", "minimaxai/minimax-m2",
    "huggingfacetb/smollm2-", "huggingfacetb/smollm3-", "allenai/olmo-2-",
)  # fmt: skip


def each_manifest(function):
    names = [manifest.model for manifest in MANIFESTS]
    return pytest.mark.parametrize("manifest", MANIFESTS, ids=names)(function)


def artifacts(manifest: Manifest):
    return {profile.artifact.name: profile for profile in manifest.profiles}.values()


def read_yaml(manifest: Manifest):
    return yaml.safe_load((shipped_manifest_dir() / f"{manifest.model}.yaml").read_text())


def test_the_catalogue_holds_forty_models_of_all_sizes_and_families():
    sizes = sorted(manifest.shape.parameters for manifest in MANIFESTS)
    assert len(MANIFESTS) >= 40
    assert sizes[0] < 200e6
    assert sizes[-1] > 600e9
    models = [manifest.model for manifest in MANIFESTS]
    missing = [name for name in FAMILIES if not any(m.startswith(name) for m in models)]
    assert not missing


def test_what_cannot_generate_is_marked():
    kinds = {manifest.model: manifest.kind for manifest in MANIFESTS if manifest.kind != "chat"}
    assert set(kinds.values()) == {"embedding", "reward"}
    named = {m.model for m in MANIFESTS if "embedding" in m.model or "reward" in m.model}
    assert set(kinds) == named


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("smollm2-135m-instruct", "huggingfacetb/smollm2-135m-instruct"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "huggingfacetb/smollm2-135m-instruct"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "meta/llama3-8b-instruct"),
        ("Qwen/Qwen3-8B", "qwen/qwen3-8b"),
    ],
)
def test_the_names_people_type_are_found(name, model):
    assert load_catalog().find(name).model == model


def test_ids_and_aliases_are_unique():
    ids = Counter(profile.id for manifest in MANIFESTS for profile in manifest.profiles)
    assert max(ids.values()) == 1
    assert all(len(identity) == 64 for identity in ids)
    names: Counter[str] = Counter()
    for path in shipped_manifest_dir().rglob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        full = {document["model"], *(alias.lower() for alias in document.get("aliases", []))}
        names.update(full | {name.rpartition("/")[2] for name in full})
    assert max(names.values()) == 1


@each_manifest
def test_every_profile_is_found_by_its_id_and_description(manifest):
    for profile in manifest.profiles:
        assert find_profile(manifest, profile.id) is profile
        assert find_profile(manifest, profile.description) is profile


@each_manifest
def test_weights_are_what_the_parameters_and_the_precision_make_them(manifest):
    for profile in artifacts(manifest):
        artifact = profile.artifact
        least, most = BITS_PER_WEIGHT[profile.precision]
        bits = 8 * artifact.weight_bytes / manifest.shape.parameters
        assert 0.98 * least <= bits <= most, artifact.name
        assert artifact.download_bytes >= artifact.weight_bytes, artifact.name


@each_manifest
def test_active_parameters_stand_where_experts_do(manifest):
    shape = manifest.shape
    names = (manifest.model, shape.architecture.lower())
    moe = any("moe" in name or "mixtral" in name for name in names)
    assert not moe or shape.active_parameters
    if shape.active_parameters:
        assert 0.02 * shape.parameters < shape.active_parameters < 0.3 * shape.parameters


@each_manifest
def test_layers_are_published_ones(manifest):
    """Widths any attention kernel knows; a state is larger than the keys of one token."""
    heads = manifest.shape.attention_heads
    for layers in manifest.shape.kv:
        match layers:
            case KvLayers():
                assert heads % layers.kv_heads == 0
                assert layers.head_dim in (64, 128, 256, 512)
                assert (layers.window or 0) < manifest.shape.max_context_length
            case LatentLayers():
                assert layers.width == 512 + 64
                assert layers.index_bytes in (0, 128 + 4)
            case StateLayers():
                assert 1e6 < layers.state_bytes < 10e6


@each_manifest
def test_what_llama_cpp_computes_with_is_known(manifest):
    """Its buffers follow the widest feed-forward layer."""
    if any(profile.artifact.format == "gguf" for profile in manifest.profiles):
        assert manifest.shape.feed_forward_size


@each_manifest
def test_widths_fit_the_model(manifest):
    for profile in manifest.profiles:
        assert profile.tensor_parallel in (1, 2, 4, 8)
        assert profile.pipeline_parallel == 1
        if profile.tensor_parallel == 8:
            assert manifest.shape.parameters > 40e9


@each_manifest
def test_every_source_is_a_place_and_its_files_are_chosen(manifest):
    for profile in artifacts(manifest):
        artifact = profile.artifact
        source = artifact.source
        if source.scheme == "hf":
            assert re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source.location)
            assert re.fullmatch(r"[0-9a-f]{40}", source.revision or "0" * 40)
        assert artifact.files or artifact.include or source.file
        if artifact.format == "gguf":
            assert profile.engine == "llama.cpp"
            assert artifact.single_file is not None
            assert artifact.single_file.endswith(".gguf")
        elif artifact.include:
            weights = ("model.safetensors", "model-00001-of-00002.safetensors")
            assert any(fnmatch(name, p) for p in artifact.include for name in weights)
            assert any(fnmatch("config.json", pattern) for pattern in artifact.include)


@each_manifest
def test_what_a_pinned_gguf_file_holds_beside_weights_is_its_vocabulary(manifest):
    for profile in manifest.profiles:
        artifact = profile.artifact
        if artifact.format == "gguf" and artifact.files:
            header_bytes = artifact.files[0].size_bytes - artifact.weight_bytes
            assert 20 <= header_bytes / manifest.shape.vocab_size <= 80, artifact.name


@each_manifest
def test_every_profile_loads_an_artifact_and_every_artifact_is_loaded(manifest):
    assert {p.artifact.name for p in manifest.profiles} == set(read_yaml(manifest)["artifacts"])


@each_manifest
def test_every_file_says_where_its_facts_come_from(manifest):
    document = read_yaml(manifest)
    subjects = " ".join(document["facts"])
    assert all(word in subjects for word in ("licence", "shape", "parameters", "weight_bytes"))
    assert ("gated" in subjects) == bool(document.get("gated"))
    kinds = {type(layers) for layers in manifest.shape.kv}
    assert ("state_bytes" in subjects) == (StateLayers in kinds)


def test_the_smallest_model_needs_no_login_and_runs_from_a_package_index():
    manifest = load_catalog().find("smollm2-135m-instruct")
    profile = find_profile(manifest, "llama.cpp-q4_1-tp1-pp1")
    assert not manifest.gated
    assert profile.artifact.source.scheme == "pypi"
    assert profile.artifact.download_bytes == 98_362_432
    assert count_kv_bytes_per_token(manifest.shape) == 23_040  # what vLLM printed for it


def test_the_model_of_the_mission_has_its_profiles():
    manifest = load_catalog().find("meta/llama3-8b-instruct")
    descriptions = {profile.description for profile in manifest.profiles}
    assert {
        f"tensorrt_llm-bf16-tp{width}-pp1-{goal}{lora}"
        for width in (1, 2, 4)
        for goal in ("latency", "throughput")
        for lora in ("", "-lora")
    } <= descriptions
    assert {
        "vllm-bf16-tp4-pp1-lora",
        "vllm-fp8-tp1-pp1",
        "vllm-fp16-tp1-pp1",
        "llama.cpp-q4_k_m-tp1-pp1",
    } <= descriptions


@each_manifest
def test_fp16_is_offered_only_where_its_range_is_enough(manifest):
    """vLLM refuses Gemma 3 and GLM-4 in fp16, and Qwen 2 overflows in it."""
    offered = [profile for profile in manifest.profiles if profile.precision == "fp16"]
    for profile in offered:
        assert profile.engine == "vllm"
        assert profile.artifact.name == "bf16"
        assert manifest.shape.architecture in (
            "LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM",
        )  # fmt: skip


def test_importing_the_catalogue_loads_neither_yaml_nor_pydantic():
    program = (
        "import sys, nimctl.catalog; nimctl.catalog.load_catalog().models; "
        "sys.exit(bool({'yaml', 'pydantic'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
