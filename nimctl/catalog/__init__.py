"""What is published: manifests read from YAML, checked, and found by any name people type."""

from nimctl.catalog.catalog import Catalog, load_catalog
from nimctl.catalog.folders import shipped_manifest_dir
from nimctl.catalog.sheet import UnjudgedModel, UnjudgedModelError

__all__ = [
    "Catalog",
    "UnjudgedModel",
    "UnjudgedModelError",
    "load_catalog",
    "shipped_manifest_dir",
]
