"""Naming a profile: by whatever a user may copy from a listing of nimctl's or of NIM's."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from manifest_files import MANIFEST

from nimctl.catalog.parse import parse_manifest
from nimctl.core.manifest import LeftOutProfile, Manifest, Profile, find_profile
from nimctl.errors import InputError

KNOWN = parse_manifest(MANIFEST.encode(), origin="own.yaml", model="acme/llama-8b").manifest
ARTIFACT = KNOWN.profiles[0].artifact

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
IDS = st.one_of(
    HASHES,
    st.uuids().map(str),
    st.from_regex(r"[a-z][a-z0-9]{2,10}(_[a-z0-9]{1,8}){0,2}", fullmatch=True),
)
GPUS = st.sampled_from([(None, None), ("H100", "2330:10de"), ("A100_SXM4_40GB", "20b0:10de")])


def make_profile(
    identity: str, gpu: tuple[str | None, str | None] = (None, None), **how
) -> Profile:
    return Profile(id=identity, artifact=ARTIFACT, gpu=gpu[0], gpu_device=gpu[1], **how)


profiles = st.builds(
    make_profile,
    IDS,
    gpu=GPUS,
    engine=st.sampled_from(["vllm", "tensorrt_llm", "llama.cpp"]),
    precision=st.sampled_from(["bf16", "fp8", "nvfp4", "q4_k_m"]),
    tensor_parallel=st.sampled_from([1, 2, 8, 16]),
    pipeline_parallel=st.sampled_from([1, 2]),
    goal=st.sampled_from([None, "latency", "throughput"]),
    lora=st.booleans(),
)
manifests = st.lists(
    profiles, min_size=1, max_size=8, unique_by=(lambda p: p.id, lambda p: p.description)
).map(lambda found: replace(KNOWN, profiles=tuple(found)))

LINES = {
    "NIM 1.0": "  - {id} ({name})",
    "NIM 1.0, LoRA": "    - {id} ({name})",
    "NIM 2.0": "    - {id} ({name}-27.0) [requires >=27 GB/gpu, try --max-model-len=81152 to "
    "reduce to >=24 GB/gpu]",
    "NIM's log": "INFO 2026-05-04 08:15:30 ngc_injector.py:206] Selected profile: {id} ({name})",
    "nimctl": "  * {id}  {name}   [requires >=18 GB/gpu] 131,072 tokens",
    "explained": "  1. {name}  {id}",
    "JSON": '      "profile_id": "{id}",',
    "YAML": "- id: {id}",
    "quoted": "'{id}'",
    "alone": "\t{id}\n",
}


class TestEveryNameFindsItsProfile:
    @given(manifest=manifests, data=st.data())
    def test_by_its_id_in_any_case(self, manifest: Manifest, data):
        for profile in manifest.profiles:
            assert find_profile(manifest, data.draw(spelled(profile.id))) is profile

    @given(manifest=manifests, data=st.data())
    def test_by_its_description_in_any_case(self, manifest: Manifest, data):
        for profile in manifest.profiles:
            assume(profile.description not in {other.id for other in manifest.profiles})
            assert find_profile(manifest, data.draw(spelled(profile.description))) is profile

    @given(manifest=manifests, data=st.data())
    def test_by_a_unique_beginning_of_its_id(self, manifest: Manifest, data):
        for profile in manifest.profiles:
            if len(profile.id) < 6:
                continue
            beginning = profile.id[: data.draw(st.integers(6, len(profile.id)))].rstrip("-.")
            alike = [p for p in manifest.profiles if p.id.startswith(beginning)]
            if len(alike) == 1 and len(beginning) >= 6:
                assert find_profile(manifest, beginning) is profile
                assert find_profile(manifest, beginning + "…") is profile
                assert find_profile(manifest, beginning + "...") is profile

    @pytest.mark.parametrize("line", LINES.values(), ids=LINES)
    @given(found=st.lists(HASHES, min_size=2, max_size=6, unique_by=lambda one: one[:6]))
    def test_by_a_line_of_a_listing(self, line: str, found: list[str]):
        """Ids of one listing; the names all alike, so that nothing but the id can tell."""
        listed = [make_profile(one, engine="vllm", precision="bf16") for one in found]
        manifest = replace(KNOWN, profiles=tuple(listed))
        for profile in listed:
            text = line.format(id=profile.id, name=profile.description)
            assert find_profile(manifest, text) is profile

    @given(manifest=manifests, memory=st.floats(1, 2000).map(lambda gb: f"{gb:.1f}"))
    def test_by_nims_description_with_its_memory(self, manifest: Manifest, memory: str):
        for profile in manifest.profiles:
            assert find_profile(manifest, f"{profile.description}-{memory}") is profile

    @given(manifest=manifests, foreign=HASHES)
    def test_a_line_of_nims_own_listing_counts_by_its_description_too(
        self, manifest: Manifest, foreign: str
    ):
        """The same model under NIM's ids: the id is not nimctl's, the name says what is meant."""
        assume(all(profile.id != foreign for profile in manifest.profiles))
        for profile in manifest.profiles:
            line = f"    - {foreign} ({profile.description}-27.0) [requires >=27 GB/gpu]"
            assert find_profile(manifest, line) is profile


def spelled(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([text, text.upper(), f"  {text} ", text.capitalize()])


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("vllm-bf16-tp2", "vllm-bf16-tp2-pp1"),
        ("vllm-bf16-tp2-lora", "vllm-bf16-tp2-pp1-lora"),
        ("vllm-bf16-tp1-pp1-feat_lora-33.0", "vllm-bf16-tp1-pp1-lora"),
        ("vllm-bf16-tp1-pp1-lora-lora", "vllm-bf16-tp1-pp1-lora"),
        ("vllm-bf16-tp1-pp1-27", "vllm-bf16-tp1-pp1"),
        ("tensorrt_llm-bf16-tp1-latency", "tensorrt_llm-bf16-tp1-pp1-latency"),
        (
            "- ac34857f (tensorrt_llm-trtllm_buildable-bf16-tp1-pp1-throughput)",
            "tensorrt_llm-bf16-tp1-pp1-throughput",
        ),
        ("llama.cpp-q4_k_m-tp1-pp1", "llama.cpp-q4_k_m-tp1-pp1"),
    ],
)
def test_nims_spellings_of_all_versions(text, description):
    assert find_profile(KNOWN, text).description == description


class TestNoName:
    def test_the_nearest_are_told(self):
        with pytest.raises(InputError, match="no profile 'vllm-bf16-tp4-pp1'") as caught:
            find_profile(KNOWN, "vllm-bf16-tp4-pp1")
        assert "; nearest: vllm-bf16-tp" in caught.value.message
        assert "nimctl list-profiles acme/llama-8b" in (caught.value.hint or "")

    def test_an_id_that_is_nearly_right_is_told_too(self):
        profile = KNOWN.profiles[0]
        wrong = "x" + profile.id[1:12]
        with pytest.raises(InputError, match=f"nearest: {profile.description}"):
            find_profile(KNOWN, wrong)

    def test_several_are_told_with_their_ids(self):
        twins = tuple(replace(KNOWN.profiles[0], id=digit * 64) for digit in "abcdefg")
        with pytest.raises(InputError, match="may be 7 profiles") as caught:
            find_profile(replace(KNOWN, profiles=twins), twins[0].description)
        assert "aaaaaaaaaaaa (vllm-bf16-tp1-pp1), bbbbbbbbbbbb" in caught.value.message
        assert caught.value.message.endswith("and 2 more")

    def test_a_beginning_of_several_ids_is_ambiguous(self):
        two = tuple(replace(KNOWN.profiles[0], id="abcdef" + digit * 58) for digit in "01")
        with pytest.raises(InputError, match="may be 2 profiles"):
            find_profile(replace(KNOWN, profiles=two), "abcdef")
        assert find_profile(replace(KNOWN, profiles=two), "abcdef0").id == two[0].id

    def test_five_digits_are_too_few(self):
        with pytest.raises(InputError, match="no profile"):
            find_profile(KNOWN, KNOWN.profiles[0].id[:5])

    @pytest.mark.parametrize("text", ["09c7f1ebf2b1", "sglang-bf16-tp4-pp1"])
    def test_one_that_is_left_out_is_told_with_the_reason(self, text):
        left_out = LeftOutProfile(
            place="nim.yaml:67",
            id="09c7f1ebf2b1826c",
            description="sglang-bf16-tp4-pp1",
            reason="nimctl has no engine sglang",
        )
        with pytest.raises(InputError, match="is left out: nimctl has no engine sglang"):
            find_profile(replace(KNOWN, left_out=(left_out,)), text)

    @given(manifest=manifests, text=st.text(max_size=40))
    def test_whatever_is_typed_is_found_or_answered_in_one_line(self, manifest, text):
        try:
            find_profile(manifest, text)
        except InputError as error:
            assert error.message.isprintable()
