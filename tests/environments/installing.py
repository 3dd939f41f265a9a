"""What tests of installations ask for: vLLM for CPUs, from a folder of wheels and nowhere else."""

from nimctl.environments.installing import InstallRequest, install_engine
from nimctl.environments.package_tools import Index
from nimctl.environments.recipes import find_recipe

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
