"""An engine in a container: its launch as one command line of docker or podman. Pure.

Weights, adapters and the folders the engine writes are mounted at their own paths, so that its
command is the same inside as outside.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

from nimctl.core.names import EngineName
from nimctl.core.plan import Launch, Plan
from nimctl.core.symptom import Symptom

ContainerTool = Literal["docker", "podman"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """The image that an engine's makers publish.

    Attributes:
        repository: Its name without a tag.
        tag: The tag of a version.
        version: The one nimctl takes unasked.
        program: What is run in it; the image's own entry point has changed between versions.
        limits: Resource limits its documentation asks for.
    """

    repository: str
    tag: str
    version: str
    program: str
    limits: tuple[str, ...] = ()

    def name(self, version: str) -> str:
        """The whole name of a version."""
        return f"{self.repository}:{self.tag.format(version=version)}"


IMAGES: Mapping[EngineName, Image] = {
    "vllm": Image(
        repository="vllm/vllm-openai", tag="v{version}", version="0.32.0", program="vllm"
    ),
    "tensorrt_llm": Image(
        repository="nvcr.io/nvidia/tensorrt-llm/release",
        tag="{version}",
        version="1.2.0",
        program="trtllm-serve",
        limits=("memlock=-1", "stack=67108864"),  # its Quick Start Guide
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSite:
    """Where and as whom a container runs.

    Attributes:
        program: Docker or podman as it is started, e.g. `/usr/bin/docker`.
        image: The image's whole name.
        user_id: The user inside, who owns what is written outside.
        shm_size: Shared memory, which the processes of a tensor-parallel engine talk through.
        state_dir: The engine's folder; its name is the container's too.
        read_only: Folders the engine reads.
        writable: Folders it writes besides that one.
        inherited: Names of variables that it gets from us as they are.
    """

    tool: ContainerTool
    program: str
    image: str
    user_id: int
    group_id: int
    shm_size: str
    state_dir: PurePath
    read_only: tuple[PurePath, ...]
    writable: tuple[PurePath, ...] = ()
    inherited: tuple[str, ...] = ()


SYMPTOMS = (
    Symptom(
        code="container-no-gpus",
        pattern=r"could not select device driver|unresolvable CDI devices|nvidia-container-cli: ",
        cause="the container engine cannot give GPUs to a container",
        hint="install the NVIDIA Container Toolkit and, for podman, `nvidia-ctk cdi generate`",
    ),
    Symptom(
        code="container-no-permission",
        pattern=r"permission denied while trying to connect to the Docker",
        cause="this user may not use docker",
        hint="use podman, or let an administrator add you to the group docker",
    ),
    Symptom(
        code="container-no-daemon",
        pattern=r"Cannot connect to the Docker daemon|failed to connect to the docker API",
        cause="the docker daemon does not run",
        hint="start it: systemctl start docker",
    ),
)


def contain(launch: Launch, plan: Plan, engine: EngineName, site: ContainerSite) -> Launch:
    """The same launch in a container that is gone when the engine is.

    No value of a variable that was passed on is in the command line, which everybody sees: a bare
    `--env NAME` takes it from the environment of docker or podman itself.
    """
    image = IMAGES[engine]
    name = site.state_dir.name
    env = {key: value for key, value in launch.env.items() if _is_for_inside(key, value)}
    argv = [
        site.program, "run", "--rm", "--init",
        "--name", name,
        "--pull", "never",  # it was pulled, or refused, with words of its own
        *_user(site),
        *_gpus(plan, site.tool),
        "--shm-size", site.shm_size,
        *(word for limit in image.limits for word in ("--ulimit", limit)),
        "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges",
        *_network(launch),
        *_mount((site.state_dir, *site.writable), readonly=False),
        *_mount(site.read_only, readonly=True),
        # A user without an entry in the image's /etc/passwd needs both.
        "--env", "HOME=/tmp", "--env", "USER=nimctl",
        *(word for key in (*env, *site.inherited) for word in ("--env", key)),
        "--entrypoint", image.program,
        site.image,
        *_arguments(launch),
    ]  # fmt: skip
    return replace(
        launch,
        argv=tuple(argv),
        env=env,
        symptoms=(*SYMPTOMS, *launch.symptoms),
        afterwards=(site.program, "rm", "--force", name),
    )


def _is_for_inside(variable: str, value: str) -> bool:
    """Whether a variable means the same inside, where GPUs told by number have other numbers."""
    if variable != "CUDA_VISIBLE_DEVICES":
        return True
    return all(one.startswith(("GPU-", "MIG-")) for one in value.split(","))


def _user(site: ContainerSite) -> tuple[str, ...]:
    user = ("--user", f"{site.user_id}:{site.group_id}")
    if site.tool == "docker":
        return user
    # Without root, podman maps us to the same number inside only when asked.
    keep = ("--userns", "keep-id") if site.user_id else ()
    return (*keep, *user, "--security-opt", "label=disable")


def _gpus(plan: Plan, tool: ContainerTool) -> tuple[str, ...]:
    """GPUs by UUID (a MIG device's too), as the NVIDIA Container Toolkit takes them."""
    devices = [gpu.uuid or str(gpu.index) for gpu in plan.gpus]
    if not devices:
        return ()
    if tool == "podman":
        return tuple(word for one in devices for word in ("--device", f"nvidia.com/gpu={one}"))
    listed = f"device={','.join(devices)}"
    # Docker reads the value as a line of CSV.
    return ("--gpus", f'"{listed}"' if len(devices) > 1 else listed)


def _network(launch: Launch) -> tuple[str, ...]:
    """None for an engine on a socket; a port of loopback for one that knows only ports."""
    if launch.address.uds is not None:
        return ("--network", "none", "--hostname", "localhost")
    port = launch.address.port
    return ("--publish", f"127.0.0.1:{port}:{port}")


def _arguments(launch: Launch) -> tuple[str, ...]:
    """The engine's arguments; a published port is reached only at the container's own address."""
    words = list(launch.argv[1:])
    if launch.address.uds is None and "--host" in words:
        words[words.index("--host") + 1] = "0.0.0.0"  # noqa: S104 - published on loopback alone
    return tuple(words)


def _mount(folders: tuple[PurePath, ...], *, readonly: bool) -> Iterator[str]:
    for folder in folders:
        fields = ["type=bind", f"source={folder}", f"target={folder}", *(["readonly"] * readonly)]
        yield from ("--mount", ",".join(_quote(field) for field in fields))


def _quote(field: str) -> str:
    """A field of a line of CSV."""
    if '"' in field or "," in field:
        doubled = field.replace('"', '""')
        return f'"{doubled}"'
    return field
