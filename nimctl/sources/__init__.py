"""Places that hold weights: each lists its files and streams their bytes, and does nothing else."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nimctl.core.source import Source, SourceUri
from nimctl.sources.access import SourceAccess
from nimctl.sources.http import HttpSource
from nimctl.sources.huggingface import HuggingFaceSource
from nimctl.sources.local import LocalSource
from nimctl.sources.modelscope import ModelScopeSource
from nimctl.sources.ngc import NgcSource
from nimctl.sources.object_store import ObjectStoreSource
from nimctl.sources.oci import OciSource
from nimctl.sources.pypi import PypiSource

__all__ = ["SOURCES", "SourceAccess", "open_source"]

SOURCES: Mapping[str, Callable[[SourceAccess], Source]] = MappingProxyType(
    {
        "hf": HuggingFaceSource,
        "ngc": NgcSource,
        "modelscope": ModelScopeSource,
        "pypi": PypiSource,
        "https": HttpSource,
        "http": HttpSource,
        "file": LocalSource,
        "oci": OciSource,
        **dict.fromkeys(("s3", "gs", "az"), ObjectStoreSource),
    }
)


def open_source(uri: SourceUri, access: SourceAccess) -> Source:
    """The source that serves `uri`; nothing is contacted yet, and the caller closes it."""
    return SOURCES[uri.scheme](access)
