"""A small published model and small machines to judge it on."""

from dataclasses import replace

from nimctl.core.engine import InstalledEngine
from nimctl.core.hardware import Gpu, Hardware, Host
from nimctl.core.manifest import Artifact, KvLayers, Manifest, Profile, Shape, profile_id
from nimctl.core.source import parse_source_uri
from nimctl.core.units import GIB

SHAPE = Shape(
    architecture="LlamaForCausalLM",
    parameters=8_030_261_248,
    hidden_size=4096,
    feed_forward_size=14_336,
    attention_heads=32,
    vocab_size=128_256,
    max_context_length=131_072,
    kv=(KvLayers(layers=32, kv_heads=8, head_dim=128),),
)
BF16 = Artifact(
    name="bf16",
    source=parse_source_uri("hf://acme/llama-8b"),
    format="safetensors",
    weight_bytes=16_060_522_496,
    download_bytes=16_069_630_632,
)
FP8 = replace(
    BF16, name="fp8", source=parse_source_uri("hf://acme/llama-8b-fp8"), weight_bytes=9_081_724_928
)
Q4 = Artifact(
    name="q4_k_m",
    source=parse_source_uri("hf://acme/llama-8b-gguf?file=model.Q4_K_M.gguf"),
    format="gguf",
    weight_bytes=4_912_898_304,
    download_bytes=4_920_734_272,
)


def make_profile(**fields) -> Profile:
    fields.setdefault("goal", None)
    fields.setdefault("lora", False)
    fields.setdefault("tensor_parallel", 1)
    fields.setdefault("pipeline_parallel", 1)
    gpu = fields.pop("gpu", None)
    fields.setdefault("gpu_device", None)
    return Profile(id=profile_id(model="acme/llama-8b", **fields), gpu=gpu, **fields)


def make_manifest(profiles, shape=SHAPE) -> Manifest:
    return Manifest(
        model="acme/llama-8b",
        title="Llama 8B",
        licence="apache-2.0",
        gated=False,
        shape=shape,
        profiles=tuple(profiles),
        origin="tests",
    )


PROFILES = (
    *(
        make_profile(
            engine="tensorrt_llm",
            precision=artifact.name,
            artifact=artifact,
            tensor_parallel=tp,
            goal=goal,
            lora=lora,
        )
        for artifact in (FP8, BF16)
        for tp in (1, 2, 4)
        for goal in ("latency", "throughput")
        for lora in (False, True)
    ),
    *(
        make_profile(engine="vllm", precision=artifact.name, artifact=artifact, tensor_parallel=tp)
        for artifact in (FP8, BF16)
        for tp in (1, 2)
    ),
    make_profile(engine="llama.cpp", precision="q4_k_m", artifact=Q4),
)

ALL_ENGINES = (
    InstalledEngine(
        name="tensorrt_llm", version="1.1", origin="test", program=("trt",), devices=("gpu",)
    ),
    InstalledEngine(
        name="vllm", version="0.11", origin="test", program=("vllm",), devices=("gpu",)
    ),
    InstalledEngine(
        name="sglang", version="0.5.23", origin="test", program=("sglang",), devices=("gpu",)
    ),
    InstalledEngine(
        name="llama.cpp", version="1", origin="test", program=("llama",), devices=("gpu", "cpu")
    ),
)


def make_gpu(
    index=0, *, name="NVIDIA H100 80GB HBM3", total_gib=80, free_gib=None, cc=(9, 0), peers=None
):
    free_gib = total_gib - 1 if free_gib is None else free_gib
    return Gpu(
        index=index,
        name=name,
        uuid=f"GPU-{index:08d}",
        pci_device_id="2330:10de",
        compute_capability=cc,
        memory_total_bytes=total_gib * GIB,
        memory_free_bytes=int(free_gib * GIB),
        memory_reserved_bytes=GIB,
        nvlink_peers=peers,
    )


def make_hardware(*gpus, ram_gib=64, driver="580.65.06", cores=8):
    return Hardware(
        host=Host(
            system="Linux",
            architecture="x86_64",
            physical_cores=cores,
            usable_cpus=cores,
            memory_total_bytes=ram_gib * GIB,
            memory_available_bytes=ram_gib * GIB,
        ),
        gpus=gpus,
        driver_version=driver if gpus else None,
    )
