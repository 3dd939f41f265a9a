"""Everything nimctl can write for llama.cpp, held against the wheel's server."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from core_cases import ALL_ENGINES, PROFILES, make_gpu, make_hardware, make_manifest

from nimctl.core.engine_address import EngineAddress
from nimctl.core.engine_options import EngineOptions
from nimctl.core.plan import Adapter, Site
from nimctl.core.selection import require_choice, select
from nimctl.core.wish import Wish
from nimctl.engines import ENGINES, TRAITS
from nimctl.environments.llama_server import _parameters, _parser

OPTIONS = EngineOptions(
    reasoning_parser="none",
    prefix_caching=False,
    speculative="/draft.gguf",
    speculative_tokens=3,
    seed=7,
)


def list_words(options, *gpus, tensor_parallel=1, kv_precision=None):
    profiles = [replace(PROFILES[-1], tensor_parallel=tensor_parallel)]
    wish = Wish(kv_precision=kv_precision, concurrency=2, context_length=4096)
    judged = select(
        make_manifest(profiles),
        make_hardware(*gpus),
        wish,
        engines=TRAITS,
        installed=ALL_ENGINES,
    )
    site = Site(
        program=("llama-server",),
        weights_dir=PurePosixPath("/model"),
        address=EngineAddress(uds="/s.sock"),
        served_names=("a", "b"),
        state_dir=PurePosixPath("/state"),
        options=options,
        adapters=(Adapter(name="a", path=PurePosixPath("/a.gguf")),),
    )
    return ENGINES["llama.cpp"].launch(require_choice(judged).plan, site).argv[1:]


@pytest.mark.parametrize("options", [EngineOptions(), OPTIONS])
@pytest.mark.parametrize("kv_precision", [None, "q8_0"])
def test_it_knows_every_argument_that_nimctl_can_write(tmp_path, options, kv_precision):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}")
    words = list_words(replace(options, chat_template=template), kv_precision=kv_precision)
    parameters = _parameters(_parser().parse_args(list(words)))
    assert parameters.chat_template == "{{ messages }}"
    assert parameters.n_parallel == 2


def test_what_was_asked_reaches_the_wheel():
    parameters = _parameters(_parser().parse_args(list(list_words(OPTIONS))))
    assert parameters.speculative.draft.mparams.path == "/draft.gguf"
    assert parameters.speculative.draft.n_max == 3
    assert not parameters.cache_prompt
    assert parameters.sampling.seed == 7
    assert [adapter.path for adapter in parameters.lora_adapters] == ["/a.gguf"]


def test_layers_are_shared_over_several_gpus():
    words = list_words(EngineOptions(), make_gpu(0), make_gpu(1, free_gib=40), tensor_parallel=2)
    parameters = _parameters(_parser().parse_args(list(words)))
    assert parameters.tensor_split[:3] == [79.0, 40.0, 0.0]


def test_a_template_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit):
        _parser().parse_args(["--model", "m", "--chat-template-file", "/nowhere.jinja"])
    assert "/nowhere.jinja: No such file" in capsys.readouterr().err
