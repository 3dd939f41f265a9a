"""Everything nimctl can say to TensorRT-LLM, held against its published options and keys."""

import json
from pathlib import Path

import pytest
from engines.everything import list_launches

from nimctl.core.request_fields import read_version
from nimctl.engines.tensorrt_llm import SPELLING

PUBLISHED = json.loads(Path(__file__).with_name("tensorrt_llm_options.json").read_text())


@pytest.mark.parametrize("published", PUBLISHED["versions"], ids=lambda one: one["version"])
def test_trtllm_serve_knows_every_argument_that_nimctl_can_write(published):
    launches = list(list_launches("tensorrt_llm", read_version(published["version"])))
    said = {one.name for launch in launches for one in launch.arguments}
    assert len(launches) > 20
    assert {name for name in said if name.startswith("-")} <= set(published["options"])


def test_the_newest_knows_every_alias():
    assert set(SPELLING.aliases) <= set(PUBLISHED["versions"][-1]["options"])


def test_the_options_file_has_only_keys_that_are_published():
    keys = PUBLISHED["keys"]
    for launch in list_launches("tensorrt_llm", (1, 2)):
        (text,) = launch.files.values()
        document = json.loads(text)
        assert set(document) <= set(keys["top"])
        for name, value in document.items():
            if isinstance(value, dict):
                assert set(value) <= set(keys[name])
