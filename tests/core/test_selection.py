"""The judge: its laws, and the answers a user would expect on known machines."""

import itertools
import random
from dataclasses import replace

import pytest
from core_cases import (
    ALL_ENGINES,
    BF16,
    FP8,
    PROFILES,
    SHAPE,
    make_gpu,
    make_hardware,
    make_manifest,
    make_profile,
)
from hypothesis import given
from hypothesis import strategies as st

from nimctl.catalog import load_catalog
from nimctl.core.engine import InstalledEngine
from nimctl.core.hardware import GpuProcess, MigSlice
from nimctl.core.selection import require_choice, select
from nimctl.core.speed import SpeedFigure
from nimctl.core.units import GIB
from nimctl.core.verdict import Fit, decided_by
from nimctl.core.wish import Wish, format_change
from nimctl.engines import TRAITS
from nimctl.errors import InputError, NothingFitsError
from nimctl.probe import find_preset

MANIFEST = make_manifest(PROFILES)


def judge(hardware, wish=None, *, manifest=MANIFEST, installed=ALL_ENGINES):
    return select(manifest, hardware, wish or Wish(), engines=TRAITS, installed=installed)


def name_choice(hardware, wish=None, **kwargs):
    return require_choice(judge(hardware, wish, **kwargs)).profile.description


gpu_counts = st.integers(0, 4)
wishes = st.builds(
    Wish,
    engine=st.sampled_from([None, "vllm", "llama.cpp", "tensorrt_llm"]),
    goal=st.sampled_from([None, "latency", "throughput"]),
    context_length=st.sampled_from([None, 256, 4096, 65_536, 131_072, 200_000]),
    concurrency=st.sampled_from([None, 1, 8, 64]),
    tensor_parallel=st.sampled_from([None, 1, 2]),
    lora=st.booleans(),
)
machines = st.builds(
    lambda count, total, free, ram, cc: make_hardware(
        *(make_gpu(i, total_gib=total, free_gib=total * free, cc=cc) for i in range(count)),
        ram_gib=ram,
    ),
    gpu_counts,
    st.sampled_from([8, 16, 24, 48, 80]),
    st.floats(0, 1),
    st.sampled_from([2, 8, 64]),
    st.sampled_from([(7, 5), (8, 0), (9, 0)]),
)


class TestLaws:
    @given(machines, wishes)
    def test_every_profile_is_judged_once(self, hardware, wish):
        verdicts = judge(hardware, wish).verdicts
        assert sorted(v.profile.id for v in verdicts) == sorted(p.id for p in PROFILES)

    @given(machines, wishes, st.randoms(use_true_random=False))
    def test_the_order_in_the_manifest_does_not_matter(self, hardware, wish, rng: random.Random):
        shuffled = list(PROFILES)
        rng.shuffle(shuffled)
        other = judge(hardware, wish, manifest=make_manifest(shuffled))
        assert other.verdicts == judge(hardware, wish).verdicts

    @given(machines, wishes)
    def test_runnable_means_no_finding(self, hardware, wish):
        for verdict in judge(hardware, wish).verdicts:
            assert (verdict.fit is Fit.RUNNABLE) == (not verdict.findings)

    @given(machines, wishes)
    def test_a_plan_fits_the_free_memory_of_every_chosen_gpu(self, hardware, wish):
        for verdict in judge(hardware, wish).with_fit(Fit.RUNNABLE):
            plan = verdict.plan
            for gpu in plan.gpus:
                assert plan.budget.total <= gpu.memory_free_bytes
            if plan.device == "cpu":
                assert plan.budget.total <= hardware.host.memory_available_bytes

    @given(machines, wishes)
    def test_freeing_memory_never_hurts(self, hardware, wish):
        freed = replace(
            hardware,
            gpus=tuple(replace(g, memory_free_bytes=g.memory_total_bytes) for g in hardware.gpus),
        )
        before = {v.profile.id: v.fit for v in judge(hardware, wish).verdicts}
        for verdict in judge(freed, wish).verdicts:
            assert verdict.fit <= before[verdict.profile.id]

    @given(machines, wishes, st.sampled_from([1024, 16_384, 131_072]))
    def test_a_longer_context_never_helps(self, hardware, wish, context):
        shorter = replace(wish, context_length=context // 2)
        longer = replace(wish, context_length=context)
        fits = {v.profile.id: v.fit for v in judge(hardware, shorter).verdicts}
        for verdict in judge(hardware, longer).verdicts:
            assert verdict.fit >= fits[verdict.profile.id]

    @given(machines, wishes)
    def test_a_retry_removes_its_finding(self, hardware, wish):
        for verdict in judge(hardware, wish).verdicts:
            alone = make_manifest((verdict.profile,))
            for finding in verdict.findings:
                retries = (finding.retry, *finding.alternatives) if finding.retry else ()
                for retry in retries:
                    (again,) = judge(hardware, retry, manifest=alone).verdicts
                    assert finding.check not in {f.check for f in again.findings}
                    assert format_change(wish, retry)

    @given(machines, wishes)
    def test_neighbours_in_the_ranking_can_be_told_apart(self, hardware, wish):
        for first, second in itertools.pairwise(judge(hardware, wish).verdicts):
            assert first.rank < second.rank
            assert decided_by(first, second).sentence


class TestAnswers:
    def test_one_h100_takes_tensorrt_llm_fp8(self):
        assert name_choice(make_hardware(make_gpu())) == "tensorrt_llm-fp8-tp1-pp1-latency"

    def test_the_goal_changes_the_choice(self):
        four = make_hardware(*(make_gpu(i, peers=tuple(range(4))) for i in range(4)))
        assert name_choice(four) == "tensorrt_llm-fp8-tp4-pp1-latency"
        wish = Wish(goal="throughput")
        assert name_choice(four, wish) == "tensorrt_llm-fp8-tp1-pp1-throughput"

    def test_throughput_counts_by_gpu(self):
        four = make_hardware(*(make_gpu(i, peers=tuple(range(4))) for i in range(4)))
        plan = require_choice(judge(four, Wish(goal="throughput"))).plan
        assert len(plan.gpus) == 1

    def test_a_figure_from_elsewhere_outweighs_the_order_of_engines(self):
        def measured(shape, profile, gpu, traffic):
            assert gpu == "H100"
            fast = profile.engine == "vllm"
            return SpeedFigure(
                traffic=traffic,
                time_to_first_token_s=0.05,
                inter_token_latency_s=0.004 if fast else 0.008,
                tokens_per_second=None,
                origin="measured elsewhere",
                source="a test",
            )

        selection = select(
            MANIFEST,
            make_hardware(make_gpu()),
            Wish(),
            engines=TRAITS,
            installed=ALL_ENGINES,
            forecast=measured,
        )
        chosen = require_choice(selection)
        assert chosen.profile.description == "vllm-fp8-tp1-pp1"
        behind = next(v for v in selection.verdicts if v.profile.engine == "tensorrt_llm")
        decision = decided_by(chosen, behind)
        assert decision.field == "speed"
        assert "measured elsewhere" in decision.sentence

    def test_a_gpu_that_others_use_is_left_to_them(self):
        busy = replace(make_gpu(1, peers=(0,), free_gib=40), utilization_percent=90)
        both = make_hardware(make_gpu(0, peers=(1,)), busy)
        plan = require_choice(judge(both)).plan
        assert [gpu.index for gpu in plan.gpus] == [0]

    def test_keys_and_values_in_8_bits_take_half(self):
        hardware = make_hardware(make_gpu())
        full = require_choice(judge(hardware, Wish(engine="vllm"))).plan.budget
        half = require_choice(judge(hardware, Wish(engine="vllm", kv_precision="fp8"))).plan.budget
        assert half.kv_cache * 2 == full.kv_cache

    @pytest.mark.parametrize(
        ("wish", "option"),
        [
            (Wish(engine="llama.cpp", kv_precision="fp3"), "--kv-precision"),
            (Wish(precision="q4_k_m", tensor_parallel=2), "--tensor-parallel"),
        ],
    )
    def test_an_option_that_alone_stands_in_the_way_is_named_and_leaving_it_out_helps(
        self, wish, option
    ):
        hardware = make_hardware(make_gpu())
        with pytest.raises(NothingFitsError) as raised:
            require_choice(judge(hardware, wish))
        assert raised.value.hint == f"try without {option}"
        without = replace(wish, **{option[2:].replace("-", "_"): None})
        assert require_choice(judge(hardware, without))

    def test_a_kv_precision_the_engine_lacks_is_named(self):
        wish = Wish(engine="vllm", kv_precision="q8_0")
        with pytest.raises(NothingFitsError, match="in auto, fp8"):
            require_choice(judge(make_hardware(make_gpu()), wish))

    def test_quality_takes_the_precision_the_model_was_trained_in(self):
        a100 = make_hardware(make_gpu(name="NVIDIA A100-SXM4-80GB", cc=(8, 0)))
        wish = Wish(goal="quality")
        assert name_choice(a100, wish) == "tensorrt_llm-bf16-tp1-pp1-latency"
        assert name_choice(make_hardware(make_gpu()), wish).startswith("tensorrt_llm-bf16")

    def test_without_tensorrt_llm_it_is_vllm(self):
        choice = name_choice(make_hardware(make_gpu()), installed=ALL_ENGINES[1:])
        assert choice == "vllm-fp8-tp1-pp1"

    def test_without_a_gpu_it_is_llama_cpp(self):
        selection = judge(make_hardware())
        chosen = require_choice(selection)
        assert chosen.profile.description == "llama.cpp-q4_k_m-tp1-pp1"
        assert chosen.plan.device == "cpu"
        reasons = [v.findings[0].message for v in selection.with_fit(Fit.INCOMPATIBLE)]
        assert set(reasons) == {"it needs an NVIDIA GPU and none was found"}

    def test_a_profile_built_for_the_card_wins(self):
        special = make_profile(
            engine="tensorrt_llm",
            precision="bf16",
            artifact=BF16,
            gpu="H100",
            gpu_device="2330:10de",
        )
        manifest = make_manifest([*PROFILES, special])
        assert "h100" in name_choice(make_hardware(make_gpu()), manifest=manifest)
        other = replace(make_gpu(), pci_device_id="20b2:10de")
        findings = {
            f.check
            for v in judge(make_hardware(other), manifest=manifest).verdicts
            if v.profile == special
            for f in v.findings
        }
        assert findings == {"gpu-kind"}

    def test_like_gpus_with_the_most_free_memory_are_taken(self):
        gpus = (
            make_gpu(0, free_gib=10),
            make_gpu(1, free_gib=70),
            make_gpu(2, name="NVIDIA T600", total_gib=4, free_gib=3, cc=(7, 5)),
            make_gpu(3, free_gib=60),
        )
        wish = Wish(tensor_parallel=2, engine="vllm")
        plan = require_choice(judge(make_hardware(*gpus), wish)).plan
        assert [gpu.index for gpu in plan.gpus] == [1, 3]
        assert plan.free_bytes == 60 * GIB

    def test_a_card_that_can_run_the_precision_is_preferred_to_a_larger_one(self):
        ada = make_gpu(0, name="NVIDIA GeForce RTX 4090", total_gib=24, free_gib=23, cc=(8, 9))
        ampere = make_gpu(1, name="NVIDIA RTX A6000", total_gib=48, free_gib=47, cc=(8, 6))
        wish = Wish(context_length=8192)
        plan = require_choice(judge(make_hardware(ada, ampere), wish)).plan
        assert plan.profile.precision == "fp8"
        assert [gpu.name for gpu in plan.gpus] == ["NVIDIA GeForce RTX 4090"]

    def test_a_split_gpu_is_used_by_the_slice(self):
        slices = tuple(
            MigSlice(
                uuid=f"MIG-{n}",
                name="NVIDIA A100 MIG 3g.20gb",
                memory_total_bytes=20 * GIB,
                memory_free_bytes=19 * GIB,
            )
            for n in range(2)
        )
        split = replace(make_gpu(cc=(8, 0)), mig_enabled=True, mig_slices=slices)
        selection = judge(make_hardware(split), Wish(engine="vllm"))
        plan = require_choice(selection).plan
        assert [gpu.uuid for gpu in plan.gpus] == ["MIG-0"]
        assert plan.free_bytes == 19 * GIB
        pairs = [v for v in selection.verdicts if v.profile.description == "vllm-fp8-tp2-pp1"]
        assert [f.check for f in pairs[0].findings] == ["gpu-count"]
        for names in (("MIG-1",), ("mig-1",)):
            wish = Wish(engine="vllm", gpus=names)
            plan = require_choice(judge(make_hardware(split), wish)).plan
            assert [gpu.uuid for gpu in plan.gpus] == ["MIG-1"]
        whole = require_choice(judge(make_hardware(split), Wish(engine="vllm", gpus=(0,)))).plan
        assert [gpu.uuid for gpu in whole.gpus] == ["MIG-0"]

    @pytest.mark.parametrize("name", [2, "GPU-00000002", "gpu-00000002"])
    def test_a_gpu_is_named_by_its_number_or_its_uuid(self, name):
        hardware = make_hardware(*(make_gpu(index) for index in range(4)))
        plan = require_choice(judge(hardware, Wish(engine="vllm", gpus=(name,)))).plan
        assert [gpu.index for gpu in plan.gpus] == [2]

    @pytest.mark.parametrize(
        ("names", "told"),
        [
            ((0, 7), "there is no GPU 7 here"),
            (("GPU-00000009",), "there is no GPU GPU-00000009 here"),
            (("GPU-0000",), "several GPUs begin with GPU-0000"),
        ],
    )
    def test_a_gpu_that_is_not_there_or_not_one_is_refused_with_those_there_are(self, names, told):
        hardware = make_hardware(make_gpu(0), make_gpu(1))
        with pytest.raises(InputError, match=told) as caught:
            judge(hardware, Wish(gpus=names))
        assert caught.value.hint == "there are 0 (GPU-00000000), 1 (GPU-00000001)"

    @pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
    def test_no_plan_takes_more_of_a_gpu_than_the_share_that_was_asked_for(self, share):
        """TensorRT-LLM's is of what is free once the weights are loaded."""
        hardware = make_hardware(make_gpu())
        verdicts = judge(hardware, Wish(memory_share=share)).verdicts
        plans = [one.plan for one in verdicts if one.plan and one.plan.device == "gpu"]
        taking = [plan for plan in plans if plan.profile.engine != "tensorrt_llm"]
        assert {plan.profile.engine for plan in taking} == {"vllm", "llama.cpp"}
        assert all(plan.budget.needed <= share * plan.total_bytes for plan in taking)
        assert {plan.memory_share for plan in plans} == {share}

    def test_no_gpu_is_the_cpu(self):
        plan = require_choice(judge(make_hardware(make_gpu()), Wish(gpus=()))).plan
        assert plan.device == "cpu"

    def test_a_tight_card_gets_a_shorter_context_by_itself(self):
        card = make_gpu(total_gib=24, free_gib=23.5)
        plan = require_choice(judge(make_hardware(card), Wish(engine="vllm"))).plan
        assert 4096 <= plan.context_length < 131_072
        assert plan.budget.low <= plan.budget.needed <= plan.budget.high
        assert plan.context_length % 256 == 0

    def test_a_context_asked_for_is_kept_or_refused_with_the_nearest_that_fits(self):
        card = make_hardware(make_gpu(total_gib=24, free_gib=23.5))
        wish = Wish(engine="vllm", precision="bf16", tensor_parallel=1, context_length=131_072)
        with pytest.raises(NothingFitsError, match="131,072 tokens") as caught:
            require_choice(judge(card, wish))
        hinted = int(caught.value.hint.split(",")[0].rpartition(" ")[2])
        assert require_choice(judge(card, replace(wish, context_length=hinted)))
        with pytest.raises(NothingFitsError):
            require_choice(judge(card, replace(wish, context_length=hinted + 256)))

    def test_who_holds_the_memory_is_named(self):
        holder = GpuProcess(pid=4242, name="python", memory_bytes=70 * GIB)
        busy = replace(make_gpu(free_gib=5), processes=(holder,))
        wish = Wish(engine="vllm", precision="bf16", tensor_parallel=1)
        with pytest.raises(NothingFitsError) as caught:
            require_choice(judge(make_hardware(busy), wish))
        assert "70.0 GiB by python (pid 4242)" in caught.value.hint

    def test_unknown_memory_is_not_zero_memory(self):
        unknown = replace(make_gpu(), memory_free_bytes=None)
        findings = [f for v in judge(make_hardware(unknown)).verdicts for f in v.findings]
        assert "memory-unknown" in {f.check for f in findings}
        assert "memory" not in {f.check for f in findings}

    def test_an_old_driver_is_named(self):
        old = make_hardware(make_gpu(), driver="515.48.07")
        found = {f.check for v in judge(old).verdicts for f in v.findings}
        assert "driver" in found

    def test_a_missing_engine_comes_with_its_install_command(self):
        wish = Wish(engine="vllm")
        with pytest.raises(NothingFitsError, match="vLLM is not installed") as caught:
            require_choice(judge(make_hardware(make_gpu()), wish, installed=()))
        assert "nimctl[vllm]" in caught.value.hint

    def test_lora_profiles_wait_for_lora_to_be_asked(self):
        hardware = make_hardware(make_gpu())
        assert "lora" not in name_choice(hardware)
        assert name_choice(hardware, Wish(lora=True)).endswith("-lora")


class TestNamingAProfile:
    def test_every_way_to_name_one_works(self):
        hardware = make_hardware(make_gpu(), make_gpu(1))
        profile = next(p for p in PROFILES if p.description == "vllm-bf16-tp2-pp1")
        spellings = (
            profile.id,
            profile.id[:8],
            profile.description,
            profile.description.upper(),
            f"{profile.description}-27.0",
            f"    - {profile.id} ({profile.description}) [requires >=18 GB/gpu]",
        )
        for spelling in spellings:
            choice = require_choice(judge(hardware, Wish(profile=spelling)))
            assert choice.profile == profile

    @pytest.mark.parametrize("wrong", ["default", "zzz", "ffffffffffff", "vllm-bf16-tp3-pp1"])
    def test_a_wrong_name_is_refused(self, wrong):
        with pytest.raises(InputError, match="has no profile"):
            judge(make_hardware(), Wish(profile=wrong))


class TestDeclaredKvPrecision:
    DECLARING = make_manifest(
        [make_profile(engine="vllm", precision="bf16", artifact=replace(BF16, kv_precision="fp8"))]
    )

    @pytest.mark.parametrize(
        ("capability", "asked", "told"),
        [
            ((9, 0), None, "fp8"),
            ((8, 9), None, "fp8"),
            ((8, 0), None, "bfloat16"),
            ((8, 0), "fp8", "fp8"),
            ((9, 0), "bfloat16", "bfloat16"),
        ],
    )
    def test_the_engine_is_told_what_the_gpu_can_keep(self, capability, asked, told):
        hardware = make_hardware(make_gpu(cc=capability))
        choice = require_choice(judge(hardware, Wish(kv_precision=asked), manifest=self.DECLARING))
        assert choice.plan.kv_precision == told

    def test_half_the_bytes_are_counted_only_where_the_gpu_reads_them(self):
        new, old = (
            require_choice(judge(make_hardware(make_gpu(cc=cc)), manifest=self.DECLARING)).plan
            for cc in ((9, 0), (8, 0))
        )
        assert (new.context_length, new.sequences) == (old.context_length, old.sequences)
        assert old.budget.kv_cache == 2 * new.budget.kv_cache


def test_on_a_cpu_the_engine_made_for_it_is_preferred_and_the_other_may_be_asked_for():
    on_cpu = [
        InstalledEngine(name=name, version="1", origin="test", program=("x",), devices=("cpu",))
        for name in ("vllm", "llama.cpp")
    ]
    laptop = make_hardware(ram_gib=256)
    assert name_choice(laptop, installed=on_cpu).startswith("llama.cpp")
    assert name_choice(laptop, Wish(engine="vllm"), installed=on_cpu).startswith("vllm")


class TestScaleBlocks:
    """Weights in blocks with one scale each can only be cut between blocks."""

    @pytest.mark.parametrize(
        ("expert_size", "width", "fits"), [(1536, 4, True), (1536, 8, False), (2048, 8, True)]
    )
    def test_each_gpu_gets_whole_blocks(self, expert_size, width, fits):
        shape = replace(SHAPE, expert_size=expert_size)
        profile = make_profile(
            engine="vllm",
            precision="fp8",
            artifact=replace(BF16, scale_block=128),
            tensor_parallel=width,
        )
        gpus = make_hardware(*(make_gpu(index) for index in range(8)))
        (verdict,) = judge(gpus, manifest=make_manifest([profile], shape=shape)).verdicts
        assert (verdict.fit is Fit.RUNNABLE) is fits
        assert [finding.check for finding in verdict.findings] == ([] if fits else ["parallelism"])

    def test_the_catalogue_knows_which_width_is_refused(self):
        verdicts = judge(find_preset("h200x8"), manifest=load_catalog().find("minimax-m2.5"))
        fits = {v.profile.description: v.fit for v in verdicts.verdicts}
        assert fits["vllm-fp8-tp4-pp1"] is Fit.RUNNABLE
        assert fits["vllm-fp8-tp8-pp1"] is Fit.INCOMPATIBLE

    @pytest.mark.parametrize(
        ("capability", "fits"), [((8, 9), False), ((9, 0), True), ((10, 0), True), ((12, 0), False)]
    )
    def test_an_engine_may_have_kernels_for_them_on_some_gpus_only(self, capability, fits):
        profile = make_profile(
            engine="tensorrt_llm", precision="fp8", artifact=replace(FP8, scale_block=128)
        )
        hardware = make_hardware(make_gpu(cc=capability))
        (verdict,) = judge(hardware, manifest=make_manifest([profile])).verdicts
        assert ("compute-capability" in {f.check for f in verdict.findings}) is not fits
