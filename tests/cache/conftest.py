import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub
from forked_program import WARNINGS_ARE_ERRORS, ForkedChild, ForkedProgram

CHILD = Path(__file__).with_name("fetch_child.py")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def spawn(
    program: ForkedProgram, hub: FakeHub, tmp_path: Path
) -> Iterator[Callable[..., ForkedChild]]:
    """Starts a process that fetches into `tmp_path / "cache"`, `hf://acme/toy` if nothing else."""
    children: list[ForkedChild] = []

    def start(*options: str, uri: str = "hf://acme/toy") -> ForkedChild:
        words = [str(CHILD), str(tmp_path / "cache"), hub.url, uri, *options]
        children.append(program.start(words, os.environ, tmp_path, WARNINGS_ARE_ERRORS))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()
        child.close()
