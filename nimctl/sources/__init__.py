"""Places that hold weights: each lists its files and streams their bytes, and does nothing else."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from nimctl.core.source import Source, SourceUri
from nimctl.sources.access import SourceAccess

__all__ = ["SOURCES", "SourceAccess", "open_source"]

SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "hf": "huggingface.HuggingFaceSource",
        "ngc": "ngc.NgcSource",
        "modelscope": "modelscope.ModelScopeSource",
        "pypi": "pypi.PypiSource",
        "https": "http.HttpSource",
        "http": "http.HttpSource",
        "file": "local.LocalSource",
        "oci": "oci.OciSource",
        **dict.fromkeys(("s3", "gs", "az"), "object_store.ObjectStoreSource"),
    }
)
"""By scheme, the module of this folder and the class in it; only what is asked for is imported."""


def open_source(uri: SourceUri, access: SourceAccess) -> Source:
    """The source that serves `uri`; nothing is contacted yet, and the caller closes it."""
    module, _, name = SOURCES[uri.scheme].partition(".")
    make: Callable[[SourceAccess], Source] = getattr(
        import_module(f"nimctl.sources.{module}"), name
    )
    return make(access)
