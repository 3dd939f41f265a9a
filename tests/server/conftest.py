"""Served models for the tests of the supervisor."""

import pytest
from served_child import WAIT_S, Child


@pytest.fixture
def serve(program, tmp_path):
    children = []

    def start(*fake, own=()):
        children.append(Child(program, tmp_path, own, fake))
        return children[-1]

    start.folder = tmp_path
    yield start
    for child in children:
        child.process.kill()
        child.process.wait(WAIT_S)
        child.process.close()
        child.assert_nothing_left()
