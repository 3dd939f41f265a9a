"""NIM's own manifests: both schemas, what is left out and why, the writer, and folders of them."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from benchmarks.manifest_parse import MODEL as BENCHMARKED
from benchmarks.manifest_parse import generate
from hypothesis import given
from hypothesis import strategies as st
from manifest_files import MANIFEST, write_manifest

from nimctl.catalog import load_catalog
from nimctl.catalog.nim import NimManifest
from nimctl.catalog.nim_manifest import to_manifest
from nimctl.catalog.nim_name import find_model_name
from nimctl.catalog.nim_writer import write_nim_v2
from nimctl.catalog.parse import parse_manifest
from nimctl.catalog.sheet import ManifestSheet, UnjudgedModel, UnjudgedModelError
from nimctl.core.manifest import Artifact, Manifest, Part, Profile, find_profile
from nimctl.core.source import Digest, PinnedFile, SourceUri
from nimctl.errors import ManifestError, UnknownModelError

NIM = Path(__file__).parent / "nim"
MODEL = "acme/llama-8b"
KNOWN = parse_manifest(MANIFEST.encode(), origin="own.yaml", model=MODEL).manifest


def parse(text: str, model: str = MODEL) -> NimManifest:
    nim = parse_manifest(text.encode(), origin="nim.yaml", model=model)
    assert isinstance(nim, NimManifest)
    return nim


def read(name: str) -> NimManifest:
    return parse((NIM / name).read_text())


def judge(nim: NimManifest, known: Manifest = KNOWN) -> Manifest:
    sheet = to_manifest(nim, known)
    assert isinstance(sheet, ManifestSheet)
    return sheet.manifest


def leave(nim: NimManifest, known: Manifest | None = KNOWN) -> UnjudgedModel:
    """What is said of a manifest of which nothing can be judged."""
    unjudged = to_manifest(nim, known)
    assert isinstance(unjudged, UnjudgedModel)
    return unjudged


def faults_of(text: str, model: str = MODEL) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, model)
    return caught.value.message.splitlines()


# What the files say


def test_descriptions_are_those_of_nims_listing():
    assert [profile.description for profile in read("v1_llm.yaml").profiles] == [
        "tensorrt_llm-a100-fp16-tp2-pp1-latency",
        "vllm-fp16-tp2-lora",
        "vllm-fp16-tp1",
    ]
    assert [profile.description for profile in read("v2_llm.yaml").profiles] == [
        "vllm-bf16-tp1-pp1-18.5",
        "vllm-bf16-tp2-pp1-lora",
        "tensorrt_llm-trtllm_buildable-bf16-tp8-pp2",
        "tensorrt_llm-h100-bf16-tp2-pp1-throughput",
        "vllm-bf16-tp1-pp1",
        "tensorrt_llm-a10g-bf16-tp1-pp1",
        "lmdeploy-bf16-tp4-pp1-balanced",
        "vllm",
        "",
        "vllm-nvfp4-tp1-pp1",
    ]


def test_schema_v1_says_where_each_file_comes_from_and_goes_to():
    prebuilt, lora, bare = read("v1_llm.yaml").profiles
    assert (prebuilt.line, lora.line, bare.line) == (1, 31, 52)
    assert {file.path: str(file.uri) for file in prebuilt.files} == {
        "config.json": "ngc://nim/acme/llama-8b:hf?file=config.json",
        "tokenizer.json": "ngc://nim/acme/llama-8b:hf?file=tokenizer.json",
    } | {
        f"trtllm_engine/{name}": "ngc://nim/acme/llama-8b:0.10.1-a100x2-fp16-latency?file=" + name
        for name in (
            "LICENSE.txt",
            "checksums.blake3",
            "config.json",
            "rank0.engine",
            "rank1.engine",
        )
    }
    assert ("feat_lora_max_rank", "32") in lora.tags
    assert bare.files == ()


def test_schema_v2_keeps_ids_unknown_tags_and_digests_it_can_check():
    nim = read("v2_llm.yaml")
    first = nim.profiles[0]
    assert first.id == "92508a748b4a1bf50ef8f0b361c425d370e19fa4b5c6e7f8091a2b3c4d5e6f70"
    assert dict(first.tags)["nim_workspace_hash_v1"] == "0f1e2d3c4b5a6978"
    assert first.min_vram_gb == 18.5
    assert [file.digest for file in first.files] == [
        None,
        Digest(algorithm="blake3", hex="01" * 32),
        None,
    ]
    assert nim.profiles[4].gpu_device == "2e12:10de"
    assert nim.profiles[4].gpu is None
    assert nim.profiles[-1].id == "420c0de5-cd51-4dac-be21-000000000001"


@pytest.mark.parametrize(
    "tags",
    ["llm_engine: VLLM, backend: triton", "model_type: vllm, backend: triton", "backend: vllm"],
)
def test_the_engine_stands_under_one_of_three_tags(tags):
    assert parse(f"aa: {{tags: {{{tags}}}}}\n").profiles[0].engine == "vllm"


def test_schema_v1_in_its_other_spellings():
    (profile,) = parse(
        "aa:\n  model: Acme/Llama-8B\n  tags: {}\n  workspace: !workspace\n    components:\n"
        "    - dst: models/\n      src:\n        repo_id: hf://acme/llama-8b\n"
        "        files: [!name a, {size: 1, name: b}, {c: {size: 1}}]\n"
    ).profiles
    assert {file.path: str(file.uri) for file in profile.files} == {
        f"models/{name}": f"hf://acme/llama-8b?file={name}" for name in "abc"
    }


def test_json_is_read_too():
    nim = read("v2_runtime.yaml")
    assert [file.path for file in nim.profiles[0].files] == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("tag", ["2330:10de", "2330:10DE", "2330"])
def test_a_gpu_is_named_with_or_without_its_vendor(tag):
    text = (NIM / "v2_llm.yaml").read_text().replace("2330:10de", f"'{tag}'")
    assert parse(text).profiles[3].gpu_device == "2330:10de"


# Against what nimctl knows


def test_a_profile_for_sglang_loads_the_checkpoint_that_vllm_loads():
    text = (NIM / "v2_llm.yaml").read_text().replace("lmdeploy", "sglang")
    profile = next(one for one in judge(parse(text)).profiles if one.engine == "sglang")
    assert profile.description == "sglang-bf16-tp4-pp1"
    assert profile.artifact.format == "safetensors"


def test_profiles_nimctl_can_judge_are_kept_under_nims_ids_and_the_others_are_said():
    manifest = judge(read("v2_llm.yaml"))
    assert [(profile.id[:4], profile.description) for profile in manifest.profiles] == [
        ("9250", "vllm-bf16-tp1-pp1"),
        ("a361", "vllm-bf16-tp2-pp1-lora"),
        ("b472", "tensorrt_llm-bf16-tp8-pp2"),
        ("c583", "tensorrt_llm-h100-bf16-tp2-pp1-throughput"),
        ("d694", "vllm-gb10-bf16-tp1-pp1"),
        ("e7a5", "tensorrt_llm-a10g-bf16-tp1-pp1"),
    ]
    assert [str(one).removeprefix("nim.yaml:") for one in manifest.left_out] == [
        "67: profile f8b6e0dae1a0 (lmdeploy-bf16-tp4-pp1-balanced) is left out: nimctl has no "
        "engine lmdeploy",
        "69: profile 09c7f1ebf2b1 (vllm) is left out: its tags name no precision",
        "71: profile 1ad802fc03c2 (without tags) is left out: its tags name no engine",
        "73: profile 420c0de5-cd5 (vllm-nvfp4-tp1-pp1) is left out: the bytes of nvfp4 weights "
        "are neither said nor known",
    ]
    assert manifest.shape == KNOWN.shape
    assert (manifest.licence, manifest.origin) == (KNOWN.licence, "nim.yaml")


def test_weights_come_from_nims_files_and_their_bytes_from_what_is_known():
    manifest = judge(read("v2_llm.yaml"))
    artifact = find_profile(manifest, "92508a748b4a").artifact
    assert str(artifact.source) == "ngc://nim/acme/llama-8b:hf-1a2b3c4"
    assert artifact.include == ("LICENSE", "config.json", "model-00001-of-00001.safetensors")
    assert artifact.weight_bytes == 16_060_522_496
    assert find_profile(manifest, "a3619b859c5b").artifact == artifact
    spark = find_profile(manifest, "d694ceb8cf8e").artifact
    assert str(spark.source) == "ngc://nim/acme/llama-8b-dgx-spark:hf-5d6e7f8"
    assert len({spark.name, artifact.name}) == 2


def test_a_profile_that_names_no_files_takes_the_known_weights_of_its_engine():
    manifest = judge(read("v2_llm.yaml"))
    buildable = find_profile(manifest, "b472ac96ad6c")
    assert str(buildable.artifact.source) == "hf://acme/llama-8b:main"


def test_ngc_wants_a_key_and_other_places_what_is_known_of_them():
    gates = [
        judge(read(name), known).profiles[0].artifact.gated
        for name, known in (
            ("v2_llm.yaml", KNOWN),
            ("v2_runtime.yaml", KNOWN),
            ("v2_runtime.yaml", replace(KNOWN, gated=True)),
        )
    ]
    assert gates == [True, False, True]


def test_sixteen_bits_are_sixteen_bits():
    manifest = judge(read("v1_llm.yaml"))
    assert [profile.description for profile in manifest.profiles] == [
        "tensorrt_llm-a100-fp16-tp2-pp1-latency",
        "vllm-fp16-tp2-pp1-lora",
        "vllm-fp16-tp1-pp1",
    ]
    assert {p.artifact.weight_bytes for p in manifest.profiles} == {16_060_522_496}


ONE = """\
schema_version: 2.0.0
profiles:
- id: aa11
  tags: {{llm_engine: trtllm, precision: fp4, tp: '1'}}
  workspace:
    files:
      {path}: {{uri: "{uri}", size: 500}}
      config.json: {{uri: "ngc://nim/acme/x:1?file=config.json", size: 20}}
"""


def test_an_engine_built_before_is_of_its_own_format_and_sizes_weigh_it():
    path = "trtllm_engine/rank0.engine"
    nim = parse(ONE.format(path=path, uri=f"ngc://nim/acme/x:1?file={path}"))
    (profile,) = judge(nim).profiles
    assert profile.engine == "tensorrt_llm"
    assert profile.artifact.format == "tensorrt_engine"
    assert (profile.artifact.weight_bytes, profile.artifact.download_bytes) == (500, 520)


def test_sizes_say_what_there_is_to_download_where_the_weights_are_known():
    text = ONE.format(path="w.safetensors", uri="ngc://nim/acme/x:1?file=w.safetensors")
    (profile,) = judge(parse(text.replace("fp4", "bf16"))).profiles
    assert profile.artifact.weight_bytes == 16_060_522_496
    assert profile.artifact.download_bytes == 520


@pytest.mark.parametrize(
    ("path", "uri", "reason"),
    [
        ("w.bin", "ngc://nim/acme/x:1?file=v.bin", "v.bin has to lie at w.bin, and nimctl"),
        ("w.bin", "ngc://nim/acme/x:1", "the address of w.bin names no file"),
        ("a/w.gguf", "ngc://nim/acme/x:1?file=w.gguf", "its GGUF file has to lie in another fol"),
    ],
)
def test_files_that_nimctl_could_not_bring_as_they_shall_lie_are_not_promised(path, uri, reason):
    assert reason in leave(parse(ONE.format(path=path, uri=uri))).reason


@pytest.mark.parametrize(("path", "folder"), [("w.bin", ""), ("a/b/w.bin", "a/b")])
def test_files_of_several_places_each_go_to_their_folder(path, folder):
    nim = parse(ONE.format(path=path, uri="ngc://nim/acme/y:2?file=w.bin"))
    (profile,) = judge(nim).profiles
    first, second = (SourceUri(scheme="ngc", location=f"nim/acme/{n}", revision=r)
                     for n, r in (("y", "2"), ("x", "1")))  # fmt: skip
    assert profile.artifact.parts == (
        Part(source=first, include=("w.bin",), folder=folder),
        Part(source=second, include=("config.json",)),
    )
    assert (profile.artifact.include, profile.artifact.files) == ((), ())


def test_one_file_alone_goes_to_its_folder_too():
    lines = ONE.format(path="a/w.bin", uri="ngc://nim/acme/x:1?file=w.bin").splitlines()
    (profile,) = judge(parse("\n".join(lines[:-1]))).profiles
    assert [part.folder for part in profile.artifact.places] == ["a"]


def test_two_files_cannot_lie_at_one_path():
    component = "    - {src: {repo_id: nim/acme/x, files: [!name a]}}\n"
    text = "aa:\n  tags: {llm_engine: vllm, precision: bf16}\n  workspace:\n    components:\n"
    assert "two of its files have to lie at one path" in leave(parse(text + 2 * component)).reason


class TestEnginesBuiltBefore:
    def test_engine_and_tokenizer_come_from_their_own_places(self):
        for name, engine_files in (
            ("v1_llm.yaml", {"LICENSE.txt", "checksums.blake3", "config.json", "rank0.engine",
                             "rank1.engine"}),
            ("v2_llm.yaml", {"rank0.engine"}),
        ):  # fmt: skip
            artifact = next(
                p.artifact for p in judge(read(name)).profiles if p.gpu in ("A100", "H100")
            )
            folders = {part.folder: part for part in artifact.parts}
            assert set(folders) == {"", "trtllm_engine"}
            assert artifact.source == folders["trtllm_engine"].source
            assert set(folders["trtllm_engine"].include) == engine_files
            assert artifact.format == "tensorrt_engine"
            assert artifact.weight_bytes == 16_060_522_496
            assert artifact.gated

    @pytest.mark.parametrize(
        ("gpu", "device"),
        [("A10G", "2237:10de"), ("h100", "2330:10de"), ("A100_PCIE_40GB", None), ("X1", None)],
    )
    def test_a_gpu_that_is_only_named_is_known_where_the_name_leaves_no_doubt(self, gpu, device):
        text = f"schema_version: 2\nprofiles: [{{id: a, tags: {{gpu: {gpu}, precision: bf16, "
        nim = parse(text + "llm_engine: tensorrt_llm}}]\n")
        if device is None:
            assert "of which no tag says the PCI id" in leave(nim).reason
        else:
            assert [profile.gpu_device for profile in judge(nim).profiles] == [device]

    def test_nims_own_figure_stands_for_weights_nobody_knows(self):
        text = ONE.format(
            path="trtllm_engine/rank0.engine", uri="ngc://nim/acme/y:2?file=rank0.engine"
        )
        text = text.replace(", size: 500", "").replace(
            "tp: '1'", "tp: '2', min_vram_per_device_gb: 9.5"
        )
        (profile,) = judge(parse(text)).profiles
        assert profile.artifact.weight_bytes == 19 * 2**30


def test_a_manifest_of_another_kind_of_model_is_left_with_every_reason():
    unjudged = leave(read("v1_other.yaml"))
    assert [str(one) for one in unjudged.left_out] == [
        "nim.yaml:1: profile 703e82526928 (onnx-fp16) is left out: nimctl has no engine onnx",
        "nim.yaml:6: profile 814f93637a39 (tensorrt-fp16) is left out: nimctl has no engine "
        "tensorrt",
    ]
    assert unjudged.reason == (
        "none of its 2 profiles can be used: nimctl has no engine onnx; nimctl has no engine "
        "tensorrt"
    )


def test_without_a_known_shape_the_place_of_its_config_is_told():
    unjudged = leave(read("v2_llm.yaml"), None)
    assert "attention shape is not known" in unjudged.reason
    assert [str(place) for place in unjudged.places][:2] == [
        "ngc://nim/acme/llama-8b:hf-1a2b3c4",
        "ngc://nim/acme/llama-8b-dgx-spark:hf-5d6e7f8",
    ]
    assert len(unjudged.left_out) == len(read("v2_llm.yaml").profiles)


# Faults

MANY_FAULTS = """\
schema_version: 3.0.0
profiles:
- tags: {llm_engine: vllm, tp: '0', pp: two, feat_lora: maybe}
- id: aa
  workspace:
    files:
      ../config.json: {uri: "ngc://nim/acme/x:1?file=config.json"}
      model.bin: {url: "ngc://nim/acme/x:1?file=model.bin"}
      other.bin: {uri: "jfrog://nim/acme/x", size: big, sha256: abc}
- id: aa
  tags: {llm_engine: vllm, trtllm_buildable: 'true', gpu_device: H100}
- id: bb
  tags: {llm_engine: tensorrt_llm, tp: '4', number_of_gpus: '2', tp: '2', key: [a]}
- id: cc
  tags: {llm_engine: tensorrt_llm, trtllm_buildable: true, min_vram_per_device_gb: much}
  workspace: {files: {rank0.engine: {uri: "ngc://nim/acme/x:1?file=rank0.engine"}}}
- text
- id: dd
  tags: [vllm]
  workspace:
    files: {c: *x}
"""


def test_all_faults_are_listed_at_once_with_their_lines():
    assert faults_of(MANY_FAULTS) == [
        "nim.yaml:1: schema_version must be 2 or 2.x, not '3.0.0'",
        "nim.yaml:3: profiles[0].id is missing",
        "nim.yaml:3: profiles[0].tags.feat_lora must be true or false, not 'maybe'",
        "nim.yaml:3: profiles[0].tags.pp must be a whole number above 0, not 'two'",
        "nim.yaml:3: profiles[0].tags.tp must be a whole number above 0, not '0'",
        "nim.yaml:4: profiles[1].tags is missing",
        "nim.yaml:7: profiles[1].workspace.files.../config.json cannot be used: the file name "
        "'../config.json' could leave its folder; it is refused",
        "nim.yaml:8: profiles[1].workspace.files.model.bin has no uri",
        "nim.yaml:9: profiles[1].workspace.files.other.bin.sha256 cannot be used: 'sha256:abc' "
        "needs 64 lower-case hexadecimal digits",
        "nim.yaml:9: profiles[1].workspace.files.other.bin.size must be a number of bytes, not "
        "'big'",
        "nim.yaml:9: profiles[1].workspace.files.other.bin.uri cannot be used: "
        "'jfrog://nim/acme/x' is not a source; it must start with one of hf://, ngc://, pypi:, "
        "https://, http://, file://, s3://, gs://, az://, modelscope://, oci://",
        "nim.yaml:10: profiles[2].id is that of the profile on line 4, too",
        "nim.yaml:11: profiles[2].tags.gpu_device must be a PCI device, such as 2330:10de, not "
        "'H100'",
        "nim.yaml:11: profiles[2].tags.trtllm_buildable is true, but the engine is vllm",
        "nim.yaml:13: profiles[3].tags.key must be text",
        "nim.yaml:13: profiles[3].tags.number_of_gpus is 2, but tp is 4, pp 1",
        "nim.yaml:13: the key 'tp' stands twice, first on line 13",
        "nim.yaml:15: profiles[4].tags.min_vram_per_device_gb must be a number of gigabytes, not "
        "'much'",
        "nim.yaml:15: profiles[4].tags.trtllm_buildable is true, but a built engine is among the "
        "files",
        "nim.yaml:17: profiles[5] must be a mapping",
        "nim.yaml:19: profiles[6].tags must be a mapping",
        "nim.yaml:21: an alias (*name) is not read; write the value out",
        "nim.yaml:21: profiles[6].workspace.files.c has no uri",
    ]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("schema_version: 2.0.0\n", ["nim.yaml:1: profiles must not be empty"]),
        ("schema_version:\n", ["nim.yaml:1: schema_version must be 2 or 2.x, not ''"]),
        ("schema_version: 2\nprofiles: {a: 1}\n", ["nim.yaml:2: profiles must be a list"]),
        (
            "model: acme/other\nschema_version: 2\nprofiles: [{id: a, tags: {}}]\n",
            ["nim.yaml:1: model is acme/other, but the file lies where acme/llama-8b belongs"],
        ),
        (
            "aa: {tags: {}, model: Acme/Other}\nbb: 1\ncc: {model: acme/llama-8b}\n",
            [
                "nim.yaml:1: aa.model is Acme/Other, but the file is one of acme/llama-8b",
                "nim.yaml:2: bb must be a profile: a mapping with tags",
                "nim.yaml:3: cc.tags is missing",
            ],
        ),
        (
            "aa:\n  tags: {}\n  workspace: !workspace\n    components:\n    - src: {files: [~, [x],"
            " /etc/passwd]}\n    - dst: ..\n      src: {repo_id: 'x://y', files: [!name a]}\n",
            [
                "nim.yaml:5: aa.workspace.components[0].src.files[0] names no file",
                "nim.yaml:5: aa.workspace.components[0].src.files[1] must be text",
                "nim.yaml:5: aa.workspace.components[0].src.files[2] cannot be used: the file "
                "name '/etc/passwd' could leave its folder; it is refused",
                "nim.yaml:7: aa.workspace.components[1].src.files[0] cannot be used: the file "
                "name '../a' could leave its folder; it is refused",
                "nim.yaml:7: aa.workspace.components[1].src.repo_id cannot be used: 'x://y' is "
                "not a source; it must start with one of hf://, ngc://, pypi:, https://, http://, "
                "file://, s3://, gs://, az://, modelscope://, oci://",
            ],
        ),
    ],
)
def test_each_fault_of_either_schema(text, faults):
    assert faults_of(text) == faults


@pytest.mark.parametrize("count", ["8", "16"])
def test_the_number_of_gpus_may_be_that_of_one_machine_or_of_all(count):
    tags = f"{{llm_engine: vllm, tp: '8', pp: '2', number_of_gpus: '{count}'}}"
    assert parse(f"schema_version: 2\nprofiles: [{{id: a, tags: {tags}}}]\n").profiles


WORDS = ("profiles", "id", "tags", "workspace", "files", "uri", "components", "src", "dst", "model")
TAGS = ("llm_engine", "tp", "pp", "precision", "gpu", "gpu_device", "feat_lora", "sha256", "size")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["vllm", "", "a/b"]),
    lambda deeper: (
        st.lists(deeper, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS + TAGS), deeper, max_size=4)
    ),
    max_leaves=12,
)


@given(value=st.dictionaries(st.sampled_from(WORDS), values), version=st.booleans())
def test_any_tree_of_known_words_is_read_or_refused_with_lines(value, version):
    top = {"schema_version": "2.0", **value} if version else {"a" * 64: {"tags": {}, **value}}
    try:
        nim = parse(yaml.safe_dump(top))
    except ManifestError as error:
        assert all(line.startswith("nim.yaml:") for line in error.message.splitlines())
    else:
        assert isinstance(nim, NimManifest)


def test_two_megabytes_are_read_in_a_second():
    """In processor time, which a busy machine stretches less than the clock's."""
    content = generate()
    assert len(content) > 2_000_000
    began_s = time.process_time()
    parse(content.decode(), BENCHMARKED)
    assert time.process_time() - began_s < 1


def test_a_size_is_not_negative():
    text = ONE.format(path="w", uri="ngc://nim/acme/x:1?file=w").replace("500", "-1")
    (fault,) = faults_of(text)
    assert fault.endswith("files.w.size must be a number of bytes, not -1")


def test_two_digests_of_one_file_must_agree():
    entry = f'{{uri: "https://x/y", sha256: "{"ab" * 32}", checksum: "sha256:{"cd" * 32}"}}'
    text = f"schema_version: 2\nprofiles: [{{id: a, tags: {{}}, workspace: {{files: {{y: {entry}}}"
    (fault,) = faults_of(text + "}}]\n")
    assert fault.endswith("checksum is another sha256 than the key sha256")


# The writer

texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8)
precisions = st.sampled_from(["bf16", "fp8", "nvfp4", "int4_awq", "q4_k_m", "1e5", "no"])
sources = st.builds(
    SourceUri,
    scheme=st.sampled_from(["hf", "ngc"]),
    location=st.sampled_from(["acme/llama-8b", "nim/acme/llama-8b"]),
    revision=st.sampled_from([None, "main", "1_0", "0e9e39f"]),
)
paths = st.sampled_from(
    ["config.json", "a b.safetensors", "sub/model.safetensors", "yes", "0x1f", "ü%20.json"]
)
pinned = st.builds(
    PinnedFile,
    path=paths,
    size_bytes=st.integers(1, 10**12),
    digest=st.one_of(
        st.builds(Digest, algorithm=st.just("sha256"), hex=st.just("ab" * 32)),
        st.builds(Digest, algorithm=st.just("git-sha1"), hex=st.just("12" * 20)),
    ),
)


@st.composite
def artifacts(draw) -> Artifact:
    files = tuple(draw(st.lists(pinned, max_size=3, unique_by=lambda file: file.path)))
    source = draw(sources)
    if len(files) == 1:
        source = replace(source, file=files[0].path)
    patterns = draw(st.sampled_from([(), ("*.safetensors", "config.json"), ("config.json", "w")]))
    return Artifact(
        name="x",
        source=source,
        format="safetensors",
        include=() if files else patterns,
        files=files,
        weight_bytes=1,
        download_bytes=sum(file.size_bytes for file in files) or 1,
    )


@st.composite
def manifests(draw) -> Manifest:
    count = draw(st.integers(1, 4))
    gpus = [(None, None), ("H100", "2330:10de"), ("A100_SXM4_40GB", "20b0:10de")]
    profiles = []
    for number in range(count):
        gpu, gpu_device = draw(st.sampled_from(gpus))
        profile = Profile(
            id=draw(st.sampled_from(["1" * 60, "f" * 60])) + f"{number:04x}",
            engine=draw(st.sampled_from(["vllm", "tensorrt_llm", "llama.cpp"])),
            precision=draw(precisions),
            artifact=replace(draw(artifacts()), name=f"weights-{number}"),
            tensor_parallel=draw(st.integers(1, 16)),
            pipeline_parallel=draw(st.integers(1, 4)),
            goal=draw(st.sampled_from([None, "latency", "throughput"])),
            lora=draw(st.booleans()),
            gpu=gpu,
            gpu_device=gpu_device,
        )
        profiles.append(profile)
    return replace(KNOWN, profiles=tuple(profiles))


@given(manifest=manifests(), extras=st.booleans())
def test_what_is_written_is_read_back_to_the_same_profiles(manifest, extras):
    text = write_nim_v2(manifest, extras=extras)
    assert judge(parse(text), manifest) == replace(manifest, origin="nim.yaml")


@given(manifest=manifests())
def test_the_text_alone_carries_engines_widths_files_and_digests(manifest):
    """Read against a manifest without the ids, so that nothing can come from there."""
    pinned = [profile for profile in manifest.profiles if profile.artifact.files]
    manifest = replace(manifest, profiles=tuple(pinned))
    if not pinned:
        return
    read_back = judge(parse(write_nim_v2(manifest)), replace(KNOWN, profiles=()))
    assert [drop_weights(profile) for profile in read_back.profiles] == [
        drop_weights(profile) for profile in pinned
    ]


def drop_weights(profile: Profile) -> Profile:
    """Without what the text does not carry: names and gates of artifacts, bytes of tensors."""
    artifact = replace(profile.artifact, name="", gated=False, weight_bytes=0)
    return replace(profile, artifact=artifact)


@pytest.mark.parametrize("name", ["v1_llm.yaml", "v2_llm.yaml"])
def test_files_of_several_places_are_written_with_their_folders(name):
    """Only those whose files NIM names: the others would be given the weights nimctl knows."""
    named = tuple(p for p in judge(read(name)).profiles if p.artifact.source.scheme == "ngc")
    assert any(profile.artifact.parts for profile in named)
    text = write_nim_v2(replace(KNOWN, profiles=named))
    read_back = {profile.id: profile for profile in judge(parse(text)).profiles}
    for profile in named:
        assert drop_weights(read_back[profile.id]) == drop_weights(profile)


def test_the_text_is_nims():
    text = write_nim_v2(KNOWN, extras=False)
    document = yaml.safe_load(text)
    assert set(document) == {"schema_version", "profile_selection_criteria", "profiles"}
    for profile in document["profiles"]:
        assert all(isinstance(tag, str) for tag in profile["tags"].values())
    (gguf,) = [p for p in document["profiles"] if p["tags"]["llm_engine"] == "llama.cpp"]
    assert gguf["workspace"]["files"] == {
        "model.gguf": {"uri": "hf://acme/llama-8b-gguf?file=model.gguf"}
    }
    (vllm, *_) = document["profiles"]
    assert "workspace" not in vllm


def test_a_web_address_is_that_of_its_file():
    source = SourceUri(scheme="https", location="models.example/x.gguf")
    file = PinnedFile(path="x.gguf", size_bytes=5, digest=Digest(algorithm="sha256", hex="ab" * 32))
    artifact = replace(KNOWN.profiles[-1].artifact, source=source, files=(file,))
    written = replace(KNOWN, profiles=(replace(KNOWN.profiles[-1], artifact=artifact),))
    text = write_nim_v2(written)
    assert "uri: https://models.example/x.gguf\n" in text
    (read_back,) = judge(parse(text), replace(KNOWN, profiles=())).profiles
    assert (read_back.artifact.source, read_back.artifact.files) == (source, (file,))


@pytest.mark.parametrize("model", load_catalog().models)
def test_every_shipped_manifest_survives(model):
    manifest = load_catalog().find(model)
    text = write_nim_v2(manifest)
    assert find_model_name(text) == model
    assert judge(parse(text, model), manifest).profiles == manifest.profiles


# Folders of them


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ((NIM / "v1_llm.yaml").read_text(), "acme/llama-8b"),
        ((NIM / "v2_llm.yaml").read_text(), "acme/llama-8b"),
        ((NIM / "v2_runtime.yaml").read_text(), "acme-org/acme-llama-8b"),
        ((NIM / "v1_other.yaml").read_text(), None),
        ("schema_version: 2.0\nprofiles: []\n", None),
        ("schema_version: 2\na: ngc://nim/a/x:1\nb: ngc://nim/a/y:1\n", None),
        ("schema_version: 2\na: ngc://nim/meta/llama-3_1-8b:1\n", "meta/llama-3.1-8b"),
        ("schema_version: 2\na: hf://Qwen/Qwen3-8B:x?file=y\n", "qwen/qwen3-8b"),
        ("schema_version: 2\na:\n  model: x/y\nb: hf://Qwen/Qwen3-8B\n", "qwen/qwen3-8b"),
        ("schema_version: 2\nmodel: a/b\na: hf://Qwen/Qwen3-8B:x?file=y\n", "a/b"),
    ],
)
def test_the_model_is_found_in_the_text(text, model):
    assert find_model_name(text) == model


@pytest.fixture
def shipped(tmp_path):
    write_manifest(tmp_path / "shipped", MODEL)
    return tmp_path / "shipped"


OVERRIDING = "overrides: true\n"


@pytest.mark.parametrize("place", ["loose.yaml", "a/b/c/x.yml", "acme/model_manifest.yaml"])
@pytest.mark.parametrize("name", ["v1_llm.yaml", "v2_llm.yaml"])
def test_a_nim_manifest_is_found_anywhere_and_overrides_where_it_says_so(
    shipped, tmp_path, place, name
):
    path = tmp_path / "own" / place
    path.parent.mkdir(parents=True)
    path.write_text((NIM / name).read_text())
    catalog = load_catalog([tmp_path / "own"], shipped=shipped)
    assert catalog.models == (MODEL,)
    with pytest.raises(ManifestError, match="is already described by") as caught:
        catalog.find(MODEL)
    assert "overrides: true" in (caught.value.hint or "")

    path.write_text(path.read_text() + OVERRIDING)
    catalog = load_catalog([tmp_path / "own"], shipped=shipped)
    manifest = catalog.find("acme-org/Acme-Llama-8B")
    assert manifest.origin == str(path)
    assert manifest.shape == KNOWN.shape
    assert manifest.profiles[0].id in path.read_text()
    assert all(one.place.startswith(f"{path}:") for one in manifest.left_out)
    assert len(manifest.left_out) + len(manifest.profiles) == (3 if name == "v1_llm.yaml" else 10)


def test_a_place_names_the_model_where_the_text_does_not(shipped, tmp_path):
    path = tmp_path / "own" / "acme" / "llama-8b.yaml"
    path.parent.mkdir(parents=True)
    text = (NIM / "v2_llm.yaml").read_text().replace("ngc://nim/acme/llama-8b", "s3://bucket/x")
    path.write_text(OVERRIDING + text)
    assert load_catalog([tmp_path / "own"], shipped=shipped).find(MODEL).origin == str(path)


def test_a_hugging_face_name_finds_the_shape_by_the_alias(shipped, tmp_path):
    write_manifest(shipped, "aaa/broken", "not a manifest")
    (tmp_path / "own").mkdir()
    shutil.copy(NIM / "v2_runtime.yaml", tmp_path / "own" / "nim_runtime_manifest.yaml")
    manifest = load_catalog([tmp_path / "own"], shipped=shipped).find("acme-org/acme-llama-8b")
    assert manifest.model == "acme-org/acme-llama-8b"
    assert manifest.shape == KNOWN.shape


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ((NIM / "v1_other.yaml").read_text(), "this NIM manifest does not tell its model; its pl"),
        ("services: {}\n", "the place of a manifest is "),
    ],
)
def test_what_names_no_model_is_refused_with_its_place(shipped, tmp_path, text, fault):
    path = tmp_path / "own" / "x.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ManifestError, match=rf"x\.yaml:1: {fault}"):
        load_catalog([path.parent], shipped=shipped)


def test_a_model_of_unknown_shape_spoils_no_other(shipped, tmp_path):
    path = tmp_path / "own" / "x.yaml"
    path.parent.mkdir()
    path.write_text((NIM / "v1_llm.yaml").read_text().replace("acme/llama-8b", "acme/new-1b"))
    catalog = load_catalog([path.parent], shipped=shipped)
    assert catalog.find(MODEL).shape == KNOWN.shape
    assert [manifest.model for manifest in catalog.manifests()] == [MODEL]
    assert [unjudged.model for unjudged in catalog.list_unjudged()] == ["acme/new-1b"]
    for name in ("acme/new-1b", "New-1B"):
        with pytest.raises(UnjudgedModelError, match="its attention shape is not known"):
            catalog.find(name)
    with pytest.raises(UnknownModelError, match="acme/new-1b"):
        catalog.find("new-1c")


def test_a_model_nothing_was_known_of_may_be_described_above(shipped, tmp_path):
    for folder, text in (
        ("nim", (NIM / "v1_llm.yaml").read_text().replace("acme/llama-8b", "acme/new-1b")),
        ("own", MANIFEST.replace("acme/llama-8b\n", "acme/new-1b\noverrides: true\n")),
    ):
        path = tmp_path / folder / "acme" / "new-1b.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    catalog = load_catalog([tmp_path / "nim", tmp_path / "own"], shipped=shipped)
    assert catalog.find("acme/new-1b").shape == KNOWN.shape
