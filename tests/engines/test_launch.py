"""The whole command line of each engine, kept as snapshots."""

import json
from dataclasses import fields, replace
from pathlib import PurePosixPath

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.core.engine_address import EngineAddress
from nimctl.core.engine_options import EngineOptions
from nimctl.core.launch_arguments import NativeArguments, split_words
from nimctl.core.plan import Adapter, Site
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import ENGINES, TRAITS

SOCKET = "/run/nimctl/engine.sock"


def make_launch(profile, *gpus, wish=None, profiles=PROFILES, **site):
    manifest = make_manifest(profiles)
    wish = wish or Wish(profile=profile)
    hardware = make_hardware(*gpus)
    choice = require_choice(select(manifest, hardware, wish, engines=TRAITS, installed=ALL_ENGINES))
    engine = choice.profile.engine
    return ENGINES[engine].launch(choice.plan, make_site(engine, **site))


def make_site(engine, **site):
    site.setdefault("address", EngineAddress(uds=SOCKET))
    return Site(
        program=(engine,),
        weights_dir=PurePosixPath("/cache/model"),
        served_names=("acme/llama-8b", "llama-8b"),
        state_dir=PurePosixPath("/run/nimctl"),
        **site,
    )


def test_llama_cpp_on_a_cpu():
    launch = make_launch("llama.cpp-q4_k_m-tp1-pp1")
    assert " ".join(launch.argv) == (
        "llama.cpp --model /cache/model/model.Q4_K_M.gguf --alias acme/llama-8b,llama-8b "
        "--ctx-size 65536 --parallel 4 --threads 8 --gpu-layers 0 --cache-ram 0 --jinja "
        "--metrics --no-webui --host /run/nimctl/engine.sock"
    )
    assert launch.env == {"LLAMA_ARG_OFFLINE": "1", "LLAMA_ARG_LOG_VERBOSITY": "4"}


@pytest.mark.parametrize(
    ("gpus", "own", "must"),
    [
        ((), (), False),
        ((make_gpu(),), (), True),
        ((make_gpu(),), ("--threads", "2"), True),
        ((make_gpu(),), ("-ngl", "10"), False),
        ((make_gpu(),), ("-dev", "none"), False),
    ],
)
def test_llama_cpp_must_use_the_gpu_that_it_is_given(gpus, own, must):
    native = NativeArguments(command_line=split_words(own, "after --"))
    launch = make_launch("llama.cpp-q4_k_m-tp1-pp1", *gpus, native=native)
    assert (launch.fell_to_cpu is not None) == must
    assert launch.first_words == (64 if gpus else 1)


def test_vllm_on_two_gpus():
    launch = make_launch("vllm-bf16-tp2-pp1", make_gpu(0), make_gpu(1))
    assert " ".join(launch.argv) == (
        "vllm serve /cache/model --served-model-name acme/llama-8b llama-8b "
        "--max-model-len 131072 --tensor-parallel-size 2 --pipeline-parallel-size 1 "
        "--gpu-memory-utilization 0.92 --dtype bfloat16 --disable-uvicorn-access-log "
        "--uds /run/nimctl/engine.sock"
    )
    assert launch.env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert launch.env["HF_HUB_OFFLINE"] == "1"


def test_a_slice_of_a_gpu_is_shown_by_its_uuid_and_a_gpu_to_others_too():
    launch = make_launch("vllm-bf16-tp1-pp1", replace(make_gpu(), uuid="MIG-1"))
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "MIG-1"
    launch = make_launch("llama.cpp-q4_k_m-tp1-pp1", make_gpu(1))
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "GPU-00000001"


def test_vllm_asks_for_no_more_than_is_free():
    launch = make_launch("vllm-bf16-tp1-pp1", make_gpu(free_gib=41))
    share = launch.argv[launch.argv.index("--gpu-memory-utilization") + 1]
    assert share == "0.48"


@pytest.mark.parametrize(("free_gib", "asked", "told"), [(80, 0.29, "0.29"), (41, 0.95, "0.48")])
def test_the_share_that_was_asked_for_takes_the_place_of_the_engines_own(free_gib, asked, told):
    gpu = make_gpu(free_gib=free_gib)
    wish = Wish(profile="vllm-bf16-tp1-pp1", memory_share=asked)
    launch = make_launch(None, gpu, wish=wish, origins={"memory_share": "flag --memory-share"})
    (share,) = (one for one in launch.arguments if one.name == "--gpu-memory-utilization")
    assert (share.values, share.origin) == ((told,), "flag --memory-share")
    wish = Wish(profile="tensorrt_llm-fp8-tp1-pp1-throughput", memory_share=asked)
    (text,) = make_launch(None, gpu, wish=wish, address=EngineAddress(port=1)).files.values()
    assert f'"free_gpu_memory_fraction": {asked}' in text


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


def test_sglang_with_a_share_for_weights_and_cache_alone():
    profiles = [replace(one, engine="sglang") if one.engine == "vllm" else one for one in PROFILES]
    address = EngineAddress(port=4321)
    launch = make_launch(
        None, make_gpu(), wish=Wish(engine="sglang"), profiles=profiles, address=address
    )
    assert " ".join(launch.argv) == (
        "sglang serve --model-path /cache/model --served-model-name acme/llama-8b "
        "--context-length 131072 --tp-size 1 --pp-size 1 --mem-fraction-static 0.88 --dtype auto "
        "--enable-metrics --host 127.0.0.1 --port 4321"
    )


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_an_engine_is_told_to_do_without_graphs_where_it_can(engine):
    hardware, wish = make_hardware(make_gpu()), Wish(engine="vllm")
    choice = select(
        make_manifest(PROFILES), hardware, wish, engines=TRAITS, installed=ALL_ENGINES
    ).chosen
    plan = replace(choice.plan, profile=replace(choice.profile, engine=engine))
    site = make_site(engine, address=EngineAddress(port=4321))
    plain, eager = (ENGINES[engine].launch(replace(plan, eager=one), site) for one in (False, True))
    assert (plain != eager) == TRAITS[engine].runs_eagerly


def test_a_built_engine_brings_its_own_sizes():
    built = replace(PROFILES[0].artifact, format="tensorrt_engine")
    profiles = [replace(PROFILES[0], artifact=built)]
    address = EngineAddress(port=4321)
    launch = make_launch(None, make_gpu(), wish=Wish(), profiles=profiles, address=address)
    assert " ".join(launch.argv) == (
        "tensorrt_llm serve /cache/model/trtllm_engine --tokenizer /cache/model --backend trt "
        "--host 127.0.0.1 --port 4321 --tp_size 1 --pp_size 1 "
        "--extra_llm_api_options /run/nimctl/tensorrt_llm.yaml"
    )


def test_several_gpus_share_the_layers_on_llama_cpp():
    profiles = [replace(PROFILES[-1], tensor_parallel=2)]
    launch = make_launch(
        None, make_gpu(0), make_gpu(1, free_gib=40), wish=Wish(), profiles=profiles
    )
    assert "--gpu-layers 999 --split-mode layer --tensor-split 79.0,40.0" in " ".join(launch.argv)


@pytest.mark.parametrize(("lora", "answer"), [(False, None), (True, "1")])
def test_vllm_lets_adapters_come_and_go_only_where_they_were_asked_for(lora, answer):
    launch = launch_vllm(lora=lora)
    assert ("--enable-lora" in launch.argv) is lora
    assert launch.env.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == answer


def launch_vllm(*, lora=False, **site):
    profiles = [replace(one, lora=lora) if one.engine == "vllm" else one for one in PROFILES]
    wish = Wish(engine="vllm", lora=lora)
    return make_launch(None, make_gpu(), wish=wish, profiles=profiles, **site)


def adapters(*ranks):
    return tuple(
        Adapter(name=f"a{rank}", path=PurePosixPath(f"/loras/a{rank}"), rank=rank) for rank in ranks
    )


@pytest.mark.parametrize(
    ("ranks", "written"),
    [
        ((), "--enable-lora --max-lora-rank 32"),
        ((20,), "--enable-lora --lora-modules a20=/loras/a20 --max-lora-rank 32"),
        (
            (8, 200),
            "--enable-lora --lora-modules a8=/loras/a8 a200=/loras/a200 --max-loras 2 "
            "--max-lora-rank 256",
        ),
    ],
)
def test_vllm_makes_room_for_the_adapters_there_are(ranks, written):
    assert written in " ".join(launch_vllm(lora=True, adapters=adapters(*ranks)).argv)


def test_what_was_asked_of_adapters_is_not_worked_out():
    options = EngineOptions(max_lora_rank=64, max_loras=3, max_cpu_loras=16)
    argv = " ".join(launch_vllm(lora=True, adapters=adapters(8, 16), options=options).argv)
    assert argv.count("--max-lora-rank") == argv.count("--max-loras") == 1
    assert "--max-lora-rank 64 --max-loras 3 --max-cpu-loras 16" in argv


def test_lora_adapters_reach_tensorrt_llm():
    wish = Wish(lora=True, engine="tensorrt_llm")
    launch = make_launch(None, make_gpu(), wish=wish, adapters=adapters(64))
    (text,) = launch.files.values()
    assert json.loads(text)["lora_config"] == {
        "max_lora_rank": 64,
        "lora_dir": ["/loras/a64"],
        "max_loras": 1,
    }


def test_llama_cpp_gets_the_file_of_an_adapter_in_any_profile():
    wish = Wish(lora=True, engine="llama.cpp")
    launch = make_launch(None, wish=wish, adapters=adapters(8))
    assert launch.argv[launch.argv.index("--lora") + 1] == "/loras/a8"


EVERYTHING = EngineOptions(
    tool_parser="hermes",
    reasoning_parser="qwen3",
    chat_template=PurePosixPath("/t.jinja"),
    prefix_caching=False,
    chunked_prefill=True,
    structured_output_backend="xgrammar",
    speculative="ngram",
    speculative_tokens=3,
    seed=7,
    trust_remote_code=True,
)


def test_every_option_in_vllms_words():
    argv = launch_vllm(options=EVERYTHING, version=(0, 32)).argv
    assert " ".join(argv[argv.index("--disable-uvicorn-access-log") + 1 : -2]) == (
        "--enable-auto-tool-choice --tool-call-parser hermes --reasoning-parser qwen3 "
        "--chat-template /t.jinja --no-enable-prefix-caching --enable-chunked-prefill "
        '--structured-outputs-config {"backend": "xgrammar"} --speculative-config '
        '{"num_speculative_tokens": 3, "method": "ngram", "prompt_lookup_max": 4, '
        '"prompt_lookup_min": 2} --seed 7 --trust-remote-code'
    )
    older = launch_vllm(options=EVERYTHING, version=(0, 10)).argv
    assert "--guided-decoding-backend" in older


def test_every_option_in_tensorrt_llms_words():
    options = replace(EVERYTHING, seed=None)
    wish = Wish(engine="tensorrt_llm")
    launch = make_launch(None, make_gpu(), wish=wish, options=options, version=(1, 2))
    assert " ".join(launch.argv[launch.argv.index("--tool_parser") :]) == (
        "--tool_parser hermes --reasoning_parser qwen3 --chat_template /t.jinja --trust_remote_code"
    )
    document = json.loads(next(iter(launch.files.values())))
    assert document["kv_cache_config"]["enable_block_reuse"] is False
    assert document["enable_chunked_prefill"] is True
    assert document["speculative_config"] == {"decoding_type": "NGram", "max_draft_len": 3}


def test_the_options_of_llama_cpp():
    options = EngineOptions(
        reasoning_parser="none",
        chat_template=PurePosixPath("/t.jinja"),
        prefix_caching=False,
        speculative="/draft.gguf",
        speculative_tokens=3,
        seed=7,
        trust_remote_code=True,
    )
    argv = make_launch("llama.cpp-q4_k_m-tp1-pp1", options=options).argv
    assert " ".join(argv[argv.index("--no-webui") + 1 : -2]) == (
        "--reasoning-format none --chat-template-file /t.jinja --no-cache-prompt "
        "--model-draft /draft.gguf --draft-max 3 --seed 7"
    )


def test_code_of_a_publisher_is_never_trusted_unasked():
    for launch in (launch_vllm(), make_launch(None, make_gpu(), wish=Wish(engine="tensorrt_llm"))):
        assert not any("trust" in word for word in launch.argv)


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_every_engine_has_a_rule_for_every_option(name):
    rules = ENGINES[name].traits.options
    assert {rule.name for rule in rules} == {one.name for one in fields(EngineOptions)}
    assert all((rule.write is None) == bool(rule.reason) for rule in rules)


@pytest.mark.parametrize(
    ("engine", "options", "sentence"),
    [
        (
            "llama.cpp",
            {"structured_output_backend": "xgrammar"},
            "llama.cpp cannot honour --structured-output-backend: it has one way of guiding",
        ),
        (
            "llama.cpp",
            {"speculative": "mtp"},
            "llama.cpp cannot honour --speculative mtp: it takes the GGUF file of a draft model",
        ),
        (
            "tensorrt_llm",
            {"tool_parser": "qwen3"},
            "TensorRT-LLM cannot honour --tool-parser: up to version 1.1 it reads no tool calls",
        ),
        (
            "vllm",
            {"speculative_tokens": 3},
            "vLLM cannot honour --speculative-tokens 3: it goes with --speculative",
        ),
    ],
)
def test_an_engine_that_cannot_honour_an_option_does_not_run(engine, options, sentence):
    wish = Wish(engine=engine, options=EngineOptions(**options))
    hardware = make_hardware(make_gpu())
    manifest = make_manifest(PROFILES)
    judged = select(manifest, hardware, wish, engines=TRAITS, installed=ALL_ENGINES)
    assert judged.chosen is None
    messages = {f.message for v in judged.verdicts for f in v.findings if f.check == "option"}
    assert sentence in messages


def test_another_engine_runs_where_one_cannot_honour_an_option():
    wish = Wish(options=EngineOptions(seed=7))
    hardware = make_hardware(make_gpu())
    manifest = make_manifest(PROFILES)
    judged = select(manifest, hardware, wish, engines=TRAITS, installed=ALL_ENGINES)
    assert require_choice(judged).profile.engine == "vllm"


def test_the_parsers_of_a_family_are_chosen_unasked_and_none_takes_them_back():
    plan = replace(choose_vllm(), model="qwen/qwen3-8b", architecture="Qwen3ForCausalLM")
    site = make_site("vllm")
    launch = ENGINES["vllm"].launch(plan, site)
    told = {one.name: one for one in launch.arguments}
    assert told["--tool-call-parser"].values == ("hermes",)
    assert told["--reasoning-parser"].origin == "model family Qwen3"
    none = EngineOptions(tool_parser="none", reasoning_parser="none")
    argv = ENGINES["vllm"].launch(plan, replace(site, options=none)).argv
    assert not any("parser" in word or "tool" in word for word in argv)


def choose_vllm():
    judged = select(
        make_manifest(PROFILES),
        make_hardware(make_gpu()),
        Wish(engine="vllm"),
        engines=TRAITS,
        installed=ALL_ENGINES,
    )
    return require_choice(judged).plan


@pytest.mark.parametrize("profile", ["llama.cpp-q4_k_m-tp1-pp1", "vllm-bf16-tp1-pp1"])
def test_the_users_own_arguments_come_last(profile):
    launch = make_launch(
        profile,
        make_gpu(),
        native=NativeArguments(command_line=split_words(("--seed", "1"), "after --")),
    )
    assert launch.argv[-2:] == ("--seed", "1")


@pytest.mark.parametrize("name", sorted(set(ENGINES) - {"sglang"}))
def test_every_symptom_has_a_code_a_cause_and_a_next_step(name):
    sample = {"llama.cpp": "llama.cpp-q4_k_m-tp1-pp1", "vllm": "vllm-bf16-tp1-pp1"}
    launch = make_launch(sample.get(name, "tensorrt_llm-bf16-tp1-pp1-latency"), make_gpu())
    codes = [symptom.code for symptom in launch.symptoms]
    assert codes
    assert len(codes) == len(set(codes))
    assert all(s.cause and s.hint for s in launch.symptoms)
