"""The whole command line of an engine in a container, kept as snapshots."""

import csv
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.core.plan import EngineAddress, Launch
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import TRAITS
from nimctl.engines.container import IMAGES, SYMPTOMS, ContainerSite, contain

STATE = PurePosixPath("/run/nimctl-a1")
SITE = ContainerSite(
    tool="docker",
    program="docker",
    image="vllm/vllm-openai:v0.32.0",
    user_id=1000,
    group_id=100,
    shm_size="16g",
    state_dir=STATE,
    read_only=(PurePosixPath("/cache/model"),),
)
ON_SOCKET = Launch(
    argv=("vllm", "serve", "/cache/model", "--uds", "/run/nimctl-a1/engine.sock"),
    address=EngineAddress(uds="/run/nimctl-a1/engine.sock"),
    ready_path="/health",
    env={"HF_HUB_OFFLINE": "1"},
)
ON_PORT = Launch(
    argv=("trtllm-serve", "serve", "/cache/model", "--host", "127.0.0.1", "--port", "4567"),
    address=EngineAddress(port=4567),
    ready_path="/health",
)


def make_plan(*gpus, profile="vllm-bf16-tp1-pp1"):
    selection = select(
        make_manifest(PROFILES),
        make_hardware(*gpus),
        Wish(profile=profile),
        engines=TRAITS,
        installed=ALL_ENGINES,
    )
    return require_choice(selection).plan


def in_container(launch, *gpus, profile="vllm-bf16-tp1-pp1", engine="vllm", **site):
    plan = make_plan(*(gpus or (make_gpu(0),)), profile=profile)
    launch = replace(launch, env={**plan.gpu_environment, **launch.env})
    return contain(launch, plan, engine, replace(SITE, **site))


def test_vllm_in_docker():
    launch = in_container(ON_SOCKET)
    assert " ".join(launch.argv) == (
        "docker run --rm --init --name nimctl-a1 --pull never --user 1000:100 "
        "--gpus device=GPU-00000000 --shm-size 16g --cap-drop ALL "
        "--security-opt no-new-privileges --network none --hostname localhost "
        "--mount type=bind,source=/run/nimctl-a1,target=/run/nimctl-a1 "
        "--mount type=bind,source=/cache/model,target=/cache/model,readonly "
        "--env HOME=/tmp --env USER=nimctl --env CUDA_DEVICE_ORDER --env CUDA_VISIBLE_DEVICES "
        "--env HF_HUB_OFFLINE --entrypoint vllm vllm/vllm-openai:v0.32.0 "
        "serve /cache/model --uds /run/nimctl-a1/engine.sock"
    )
    assert launch.env["CUDA_VISIBLE_DEVICES"] == "GPU-00000000"
    assert launch.afterwards == ("docker", "rm", "--force", "nimctl-a1")
    assert (launch.address, launch.ready_path) == (ON_SOCKET.address, "/health")


def test_tensorrt_llm_in_podman():
    launch = in_container(
        ON_PORT, engine="tensorrt_llm", tool="podman", program="podman", image="trt:1.2.0"
    )
    assert " ".join(launch.argv) == (
        "podman run --rm --init --name nimctl-a1 --pull never --userns keep-id --user 1000:100 "
        "--security-opt label=disable --device nvidia.com/gpu=GPU-00000000 --shm-size 16g "
        "--ulimit memlock=-1 --ulimit stack=67108864 --cap-drop ALL "
        "--security-opt no-new-privileges --publish 127.0.0.1:4567:4567 "
        "--mount type=bind,source=/run/nimctl-a1,target=/run/nimctl-a1 "
        "--mount type=bind,source=/cache/model,target=/cache/model,readonly "
        "--env HOME=/tmp --env USER=nimctl --env CUDA_DEVICE_ORDER --env CUDA_VISIBLE_DEVICES "
        "--entrypoint trtllm-serve trt:1.2.0 "
        "serve /cache/model --host 0.0.0.0 --port 4567"
    )
    assert str(launch.address) == "http://127.0.0.1:4567"


def test_a_container_of_root_is_not_mapped():
    assert "--userns" not in in_container(ON_SOCKET, tool="podman", user_id=0).argv


@pytest.mark.parametrize(
    ("gpus", "docker", "podman"),
    [
        (
            (make_gpu(0), make_gpu(1)),
            ["--gpus", '"device=GPU-00000000,GPU-00000001"'],
            ["--device", "nvidia.com/gpu=GPU-00000000", "--device", "nvidia.com/gpu=GPU-00000001"],
        ),
        (
            (replace(make_gpu(0), uuid=None), replace(make_gpu(1), uuid=None)),
            ["--gpus", '"device=0,1"'],
            ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=1"],
        ),
    ],
)
def test_several_gpus(gpus, docker, podman):
    for tool, expected in (("docker", docker), ("podman", podman)):
        launch = in_container(ON_SOCKET, *gpus, profile="vllm-bf16-tp2-pp1", tool=tool)
        words = list(launch.argv)
        place = words.index(expected[0])
        assert words[place : place + len(expected)] == expected
        # GPUs without a UUID are counted anew inside.
        assert ("CUDA_VISIBLE_DEVICES" in launch.env) == (gpus[0].uuid is not None)
        assert ("CUDA_VISIBLE_DEVICES" in words) == (gpus[0].uuid is not None)


def test_a_slice_of_a_gpu_is_named_by_its_own_uuid():
    launch = in_container(ON_SOCKET, replace(make_gpu(0), uuid="MIG-5c8a"))
    assert "device=MIG-5c8a" in launch.argv


def test_no_value_of_a_variable_is_in_the_command_line():
    launch = replace(ON_SOCKET, env={"VLLM_API_KEY": "hunter2"})
    contained = in_container(launch, inherited=("VLLM_LOGGING_LEVEL",))
    words = list(contained.argv)
    assert "hunter2" not in " ".join(words)
    for name in ("VLLM_API_KEY", "VLLM_LOGGING_LEVEL"):
        assert words[words.index(name) - 1] == "--env"


def test_a_folder_with_a_comma_is_one_field():
    folder = PurePosixPath('/models/a,b "c"')
    words = list(in_container(ON_SOCKET, read_only=(folder,)).argv)
    (fields,) = csv.reader([words[len(words) - words[::-1].index("--mount")]])
    assert fields == ["type=bind", f"source={folder}", f"target={folder}", "readonly"]


def test_the_tag_is_the_version_of_the_engine():
    assert IMAGES["vllm"].name("0.20.1") == "vllm/vllm-openai:v0.20.1"
    assert IMAGES["tensorrt_llm"].name("1.1.0").endswith("tensorrt-llm/release:1.1.0")
    for name, image in IMAGES.items():
        assert TRAITS[name].find_builds(image.version)


def test_what_a_container_engine_says_is_understood_first():
    assert in_container(ON_SOCKET).symptoms[: len(SYMPTOMS)] == SYMPTOMS
