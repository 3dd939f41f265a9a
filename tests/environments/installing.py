"""What tests of installations ask for: vLLM for CPUs, from a folder of wheels and nowhere else."""

import pytest

from nimctl.environments.installing import InstallRequest, install_engine
from nimctl.environments.package_tools import Index
from nimctl.environments.recipes import find_recipe
from nimctl.probe import probe_machine

REAL_INSTALLERS = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool(probe_machine({}).gpus),
        reason="the small wheels are vLLM's for machines without a GPU",
    ),
]
"""Of modules that run the real pip and the real uv."""

FOR_CPUS = find_recipe("vllm", has_gpu=False)


def install(folder, wheels, variables, *, version=None, told=None):
    request = InstallRequest(
        recipe=FOR_CPUS,
        version=version,
        index=Index(find_links=wheels, offline=True),
        engines_dir=folder,
        environment=variables,
    )
    return install_engine(request, (told if told is not None else []).append)


def names(folder):
    return sorted(path.name for path in folder.iterdir())
