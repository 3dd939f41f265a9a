"""Finds the model a NIM manifest describes from its text alone, without reading it as YAML.

Schema v1 says `model:`. Schema v2 does not; there the name is that of the place most files come
from: `ngc://nim/meta/llama-3.3-70b-instruct:...` names `meta/llama-3.3-70b-instruct`.
"""

import re
from collections import Counter

# The names the file has inside NIM's containers and caches; they say nothing of the model.
NIM_FILE_NAMES = ("model_manifest", "nim_runtime_manifest")

_SCHEMA_2 = re.compile(r"""^(?:["']?|[ \t{]*")schema_version["']?\s*:\s*["']?2""", re.MULTILINE)
_SCHEMA_1 = re.compile(r"""^["']?[0-9a-f]{64}["']?\s*:\s*$""", re.MULTILINE)
_MODEL_KEY = re.compile(r"""^[ \t]*["']?model["']?\s*:\s*["']?([\w./-]+)""", re.MULTILINE)
_TOP_MODEL_KEY = re.compile(r"""^["']?model["']?\s*:\s*["']?([\w./-]+)""", re.MULTILINE)
_PLACE = re.compile(r"\b(ngc|hf)://([\w.-]+(?:/[\w.-]+)+)")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*")
_DOT_OF_A_VERSION = re.compile(r"(?<=\d)_(?=\d)")


def is_nim_manifest(text: str) -> bool:
    """Whether a text looks like a manifest of NIM's schema v1 or v2."""
    return bool(_SCHEMA_2.search(text) or _SCHEMA_1.search(text))


def find_model_name(text: str) -> str | None:
    """The `publisher/name` of a NIM manifest; None where it does not tell or tells of several."""
    key = (_TOP_MODEL_KEY if _SCHEMA_2.search(text) else _MODEL_KEY).search(text)
    if key:
        return _as_name(key.group(1))
    places = Counter(name_place(*match.groups()) for match in _PLACE.finditer(text))
    first, *others = [*places.most_common(2), (None, 0)]
    return _as_name(first[0]) if first[0] and first[1] > others[0][1] else None


def name_place(scheme: str, location: str) -> str:
    """The model of `org/team/model` or `org/model` as `publisher/name`; NGC wrote 3.1 as 3_1."""
    parts = location.split("/")
    name = "/".join(parts[1:3] if len(parts) > 2 else parts)
    return _DOT_OF_A_VERSION.sub(".", name) if scheme == "ngc" else name


def _as_name(text: str) -> str | None:
    name = text.lower()
    return name if _NAME.fullmatch(name) else None
