"""Puts this folder on the import path, so that suites can share cases and fake servers."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# Hundreds of processes import nimctl: it is compiled once, also where no bytecode is wanted.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Two busy cores make single examples slow; laws are about answers, not about time.
settings.register_profile("nimctl", deadline=None, max_examples=50)
settings.load_profile("nimctl")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Thousands of tests come into being and stay: garbage is not looked for among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def program():
    """Starts nimctl, and programs of tests, in processes of their own."""
    from forked_program import ForkedProgram

    program = ForkedProgram()
    yield program
    program.close()
