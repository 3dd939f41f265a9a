"""Where engines live on this machine: found, installed aside, checked by running them, removed."""

from nimctl.environments.checking import check_engine
from nimctl.environments.containers import bring_image, find_container_program
from nimctl.environments.finding import find_engines, list_engines, read_engine_at
from nimctl.environments.in_use import hold_engine
from nimctl.environments.installing import Installation, InstallRequest, install_engine
from nimctl.environments.managed import ManagedEngine, list_managed
from nimctl.environments.package_tools import Index
from nimctl.environments.recipes import Recipe, find_recipe
from nimctl.environments.removing import remove_engine

__all__ = [
    "Index",
    "InstallRequest",
    "Installation",
    "ManagedEngine",
    "Recipe",
    "bring_image",
    "check_engine",
    "find_container_program",
    "find_engines",
    "find_recipe",
    "hold_engine",
    "install_engine",
    "list_engines",
    "list_managed",
    "read_engine_at",
    "remove_engine",
]
