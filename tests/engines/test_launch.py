"""The whole command line of each engine, kept as snapshots."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.core.plan import EngineAddress, Site
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import ENGINES, TRAITS

SOCKET = "/run/nimctl/engine.sock"


def make_launch(profile, *gpus, wish=None, profiles=PROFILES, **site):
    manifest = make_manifest(profiles)
    wish = wish or Wish(profile=profile)
    hardware = make_hardware(*gpus)
    choice = require_choice(select(manifest, hardware, wish, engines=TRAITS, installed=ALL_ENGINES))
    site.setdefault("address", EngineAddress(uds=SOCKET))
    where = Site(
        program=(choice.profile.engine,),
        weights_dir=PurePosixPath("/cache/model"),
        served_names=("acme/llama-8b", "llama-8b"),
        state_dir=PurePosixPath("/run/nimctl"),
        **site,
    )
    return ENGINES[choice.profile.engine].launch(choice.plan, where)


def test_llama_cpp_on_a_cpu():
    launch = make_launch("llama.cpp-q4_k_m-tp1-pp1")
    assert " ".join(launch.argv) == (
        "llama.cpp --model /cache/model/model.Q4_K_M.gguf --alias acme/llama-8b,llama-8b "
        "--ctx-size 65536 --parallel 4 --threads 8 --gpu-layers 0 --cache-ram 0 --jinja "
        "--metrics --no-webui --host /run/nimctl/engine.sock"
    )
    assert launch.env == {"LLAMA_ARG_OFFLINE": "1"}


def test_vllm_on_two_gpus():
    launch = make_launch("vllm-bf16-tp2-pp1", make_gpu(0), make_gpu(1))
    assert " ".join(launch.argv) == (
        "vllm serve /cache/model --served-model-name acme/llama-8b llama-8b "
        "--max-model-len 131072 --tensor-parallel-size 2 --pipeline-parallel-size 1 "
        "--gpu-memory-utilization 0.92 --dtype bfloat16 --disable-uvicorn-access-log "
        "--uds /run/nimctl/engine.sock"
    )
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "GPU-00000000,GPU-00000001"
    assert launch.env["HF_HUB_OFFLINE"] == "1"


def test_vllm_asks_for_no_more_than_is_free():
    launch = make_launch("vllm-bf16-tp1-pp1", make_gpu(free_gib=41))
    share = launch.argv[launch.argv.index("--gpu-memory-utilization") + 1]
    assert share == "0.50"


def test_tensorrt_llm_with_its_options_file():
    launch = make_launch(
        "tensorrt_llm-fp8-tp1-pp1-throughput", make_gpu(), address=EngineAddress(port=4321)
    )
    assert " ".join(launch.argv) == (
        "tensorrt_llm serve /cache/model --backend pytorch --host 127.0.0.1 --port 4321 "
        "--tp_size 1 --pp_size 1 --max_seq_len 131072 --max_num_tokens 8192 "
        "--extra_llm_api_options /run/nimctl/tensorrt_llm.yaml"
    )
    (text,) = launch.files.values()
    assert '"free_gpu_memory_fraction": 0.9' in text
    assert '"guided_decoding_backend": "xgrammar"' in text
    assert "MAX_UTILIZATION" in text


@pytest.mark.parametrize(("lora", "answer"), [(False, None), (True, "1")])
def test_vllm_lets_adapters_come_and_go_only_where_they_were_asked_for(lora, answer):
    profiles = [replace(one, lora=lora) if one.engine == "vllm" else one for one in PROFILES]
    wish = Wish(engine="vllm", lora=lora)
    launch = make_launch(None, make_gpu(), wish=wish, profiles=profiles)
    assert ("--enable-lora" in launch.argv) is lora
    assert launch.env.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == answer


def test_lora_adapters_reach_the_engine():
    adapters = (("support", PurePosixPath("/loras/support")),)
    wish = Wish(lora=True, engine="tensorrt_llm")
    launch = make_launch(None, make_gpu(), wish=wish, lora_adapters=adapters)
    assert "lora_config" in next(iter(launch.files.values()))


@pytest.mark.parametrize("profile", ["llama.cpp-q4_k_m-tp1-pp1", "vllm-bf16-tp1-pp1"])
def test_the_users_own_arguments_come_last(profile):
    launch = make_launch(profile, make_gpu(), engine_args=("--seed", "1"))
    assert launch.argv[-2:] == ("--seed", "1")


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_symptom_has_a_code_a_cause_and_a_next_step(name):
    sample = {"llama.cpp": "llama.cpp-q4_k_m-tp1-pp1", "vllm": "vllm-bf16-tp1-pp1"}
    launch = make_launch(sample.get(name, "tensorrt_llm-bf16-tp1-pp1-latency"), make_gpu())
    codes = [symptom.code for symptom in launch.symptoms]
    assert codes
    assert len(codes) == len(set(codes))
    assert all(s.cause and s.hint for s in launch.symptoms)
