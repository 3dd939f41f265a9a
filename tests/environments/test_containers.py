"""Docker and podman: found, given their image once, and tidied up after, with a fake docker."""

import asyncio
import sys
from pathlib import Path

import pytest

from nimctl.core.plan import EngineAddress, Launch
from nimctl.environments.containers import bring_image, find_container_program
from nimctl.errors import EngineError
from nimctl.server.engine_process import EngineProcess
from nimctl.server.gateway.engine_call import by_completion

FAKE_DOCKER = Path(__file__).with_name("fake_docker.py")
IMAGE = "vllm/vllm-openai:v1"


@pytest.fixture
def docker(tmp_path):
    """The environment of a user with docker, and what it was called with."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_DOCKER}" "$@"\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "FAKE_DOCKER": str(tmp_path)}


def read_calls(tmp_path):
    return (tmp_path / "calls").read_text().splitlines()


def bring(docker, tmp_path, image=IMAGE, *, offline=False):
    told = []
    bring_image(
        find_container_program("docker", docker),
        image,
        docker,
        offline=offline,
        log_path=tmp_path / "image.log",
        tell=told.append,
    )
    return told


def test_an_image_is_pulled_once(docker, tmp_path):
    assert "pulling vllm/vllm-openai:v1" in bring(docker, tmp_path)[0]
    assert bring(docker, tmp_path, offline=True) == []
    assert read_calls(tmp_path) == ["image inspect", f"pull {IMAGE}", "image inspect"]


def test_an_image_that_cannot_be_had(docker, tmp_path):
    with pytest.raises(EngineError, match="offline nothing is pulled") as caught:
        bring(docker, tmp_path, offline=True)
    assert f"docker pull {IMAGE}" in caught.value.hint
    with pytest.raises(EngineError, match=r"cannot be pulled: .*manifest unknown") as caught:
        bring(docker, tmp_path, "none:v1")
    assert str(tmp_path / "image.log") in caught.value.hint


def test_a_program_that_is_not_there_is_told_before_anything_is_fetched(run_nowhere):
    for tool in ("docker", "podman"):
        refused = run_nowhere("serve", "llama-3.1-8b-instruct", "--container", tool)
        assert refused.returncode == 5
        assert f"{tool} is not on PATH" in refused.stderr
    dry = ("serve", "llama-3.1-8b-instruct", "--container", "docker", "--hardware", "h100")
    shown = run_nowhere(*dry, "--shm-size", "32GiB", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "  docker run --rm --init" in shown.stdout
    assert "--shm-size 32gb" in shown.stdout


@pytest.fixture
def run_nowhere(program, tmp_path):
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    return lambda *words: program.run(["nimctl", *words], environment, tmp_path)


def test_a_container_is_removed_however_its_engine_ends(docker, tmp_path):
    state_dir = tmp_path / "state"
    uds = str(state_dir / "engine.sock")
    launch = Launch(
        argv=("docker", "run", "--name", "nimctl-a1", "--uds", uds),
        address=EngineAddress(uds=uds),
        ready_path="/health",
        env=docker,
        afterwards=("docker", "rm", "--force", "nimctl-a1"),
    )

    async def serve() -> None:
        log_path = tmp_path / "engine.log"
        engine = EngineProcess(launch, environment={}, log_path=log_path, state_dir=state_dir)
        await engine.start()
        question = by_completion("fake")
        await engine.wait_until_ready(question, no_progress_s=30, on_event=lambda event: None)
        await engine.stop(grace_s=10)

    asyncio.run(serve())
    assert read_calls(tmp_path) == ["run --name", "rm --force"]
    assert not state_dir.exists()
