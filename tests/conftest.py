"""Puts this folder on the import path, so that suites can share cases and fake servers."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# Two busy cores make single examples slow; laws are about answers, not about time.
settings.register_profile("nimctl", deadline=None, max_examples=50)
settings.load_profile("nimctl")


@pytest.fixture(scope="session")
def program():
    """Starts nimctl, and programs of tests, in processes of their own."""
    from forked_program import ForkedProgram

    program = ForkedProgram()
    yield program
    program.close()
