"""Everything nimctl can say to vLLM, held against what the installed vLLM knows."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from engines.everything import list_launches, list_parsers

from nimctl.core.request_fields import read_version
from nimctl.engines.vllm import SPELLING
from nimctl.environments.managed import python_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REGISTERED = """
import json
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
print(json.dumps([m.list_registered() for m in (ToolParserManager, ReasoningParserManager)]))
"""


def ask(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_it_knows_every_argument_that_nimctl_can_write(vllm):
    program = str(Path(python_of(vllm.folder)).with_name("vllm"))
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", ask(program, "serve", "--help=all")))
    version = read_version(vllm.version)
    said = {one.name for launch in list_launches("vllm", version) for one in launch.arguments}
    assert "--speculative-config" in said
    assert "--kv-cache-memory-bytes" in said
    assert {name for name in said if name.startswith("-")} <= known
    assert set(SPELLING.aliases) <= known


def test_it_registers_every_parser_of_the_table(vllm):
    printed = ask(str(python_of(vllm.folder)), "-c", REGISTERED)
    tools, reasoning = map(set, json.loads(printed.splitlines()[-1]))
    wanted_tools, wanted_reasoning = list_parsers("vllm")
    assert wanted_tools <= tools
    assert wanted_reasoning <= reasoning
