"""Reads what both schemas of NIM's manifests share: tags, files, truth values, with every fault.

Unknown keys are passed over and unknown tags kept aside, as NIM's own readers do. What is
malformed, missing or contradicts itself is a fault.
"""

import re
from typing import Any

from nimctl.catalog.document import Document, Fault, KeyPath
from nimctl.catalog.nim import NimFile, NimProfile, is_engine_file
from nimctl.catalog.wording import format_path
from nimctl.core.source import (
    Digest,
    SourceSyntaxError,
    SourceUri,
    check_relative_path,
    parse_digest,
    parse_source_uri,
)

_COUNT = re.compile(r"[1-9][0-9]{0,3}")
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{0,6})?")
_PCI_DEVICE = re.compile(r"[0-9a-f]{4}(:[0-9a-f]{4})?")
_NVIDIA = ":10de"


class NimReader:
    """Reads values out of a document and keeps the faults it meets."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults: list[Fault] = list(document.faults)
        # Profiles share files, so addresses and paths come back many times.
        self._uris: dict[str, SourceUri] = {}
        self._paths: dict[str, str] = {}

    def fault(self, path: KeyPath, message: str) -> None:
        """Keep a fault of the value at `path`; the message follows its name."""
        line = self.document.line_of(path)
        self.faults.append(Fault(line=line, message=f"{format_path(path)} {message}"))

    def mapping(self, value: Any, path: KeyPath) -> dict[str, Any]:
        """A mapping; nothing there is an empty one."""
        if value is None or isinstance(value, dict):
            return value or {}
        self.fault(path, "must be a mapping")
        return {}

    def items(self, value: Any, path: KeyPath) -> list[Any]:
        """A list; nothing there is an empty one."""
        if value is None or isinstance(value, list):
            return value or []
        self.fault(path, "must be a list")
        return []

    def text(self, value: Any, path: KeyPath) -> str | None:
        """A plain value as text, be it quoted or not; None where there is none."""
        if value is None or value == "":
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int | float):
            return str(value)
        self.fault(path, "must be text")
        return None

    def truth(self, value: str | None, path: KeyPath) -> bool:
        """`true` or `false`, quoted or not; nothing there is false."""
        if value is not None and value.lower() not in ("true", "false"):
            self.fault(path, f"must be true or false, not {value!r:.60}")
        return value is not None and value.lower() == "true"

    def uri(self, text: str, path: KeyPath) -> SourceUri | None:
        """A source address."""
        try:
            return self._uris.get(text) or self._uris.setdefault(text, parse_source_uri(text))
        except SourceSyntaxError as error:
            self.fault(path, f"cannot be used: {error}")
            return None

    def file_path(self, text: str, path: KeyPath) -> str | None:
        """A path inside the workspace."""
        try:
            return self._paths.get(text) or self._paths.setdefault(text, check_relative_path(text))
        except SourceSyntaxError as error:
            self.fault(path, f"cannot be used: {error}")
            return None

    def digest(self, entry: dict[str, Any], path: KeyPath) -> Digest | None:
        """`sha256: <hex>` or `checksum: <algorithm>:<hex>`; one of an unknown kind is passed over.

        Both are extra keys of a file.
        """
        found = []
        for key, prefix in (("sha256", "sha256:"), ("checksum", "")):
            text = self.text(entry.get(key), (*path, key))
            try:
                found += [parse_digest(prefix + text)] if text else []
            except SourceSyntaxError as error:
                if prefix:
                    self.fault((*path, key), f"cannot be used: {error}")
        if len({one.hex for one in found if one.algorithm == "sha256"}) > 1:
            self.fault((*path, "checksum"), "is another sha256 than the key sha256")
        return found[0] if found else None

    def size_bytes(self, value: Any, path: KeyPath) -> int | None:
        """A file's size, an extra key."""
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        self.fault(path, f"must be a number of bytes, not {value!r:.60}")
        return None

    def profile(
        self, identity: str, raw_tags: Any, files: tuple[NimFile, ...], path: KeyPath
    ) -> NimProfile:
        """A profile from its tags and files; `path` leads to the profile."""
        place = (*path, "tags")
        tags = {
            name: text
            for name, value in sorted(self.mapping(raw_tags, place).items())
            if (text := self.text(value, (*place, name))) is not None
        }
        engine = tags.get("llm_engine") or tags.get("model_type") or tags.get("backend")
        profile = NimProfile(
            id=identity,
            line=self.document.line_of(path),
            tags=tuple(tags.items()),
            engine=engine.lower() if engine else None,
            precision=tags["precision"].lower() if "precision" in tags else None,
            tensor_parallel=self._count(tags.get("tp"), (*place, "tp")),
            pipeline_parallel=self._count(tags.get("pp"), (*place, "pp")),
            goal=tags.get("profile"),
            lora=self.truth(tags.get("feat_lora"), (*place, "feat_lora")),
            buildable=self.truth(tags.get("trtllm_buildable"), (*place, "trtllm_buildable")),
            gpu=tags.get("gpu"),
            gpu_device=self._gpu_device(tags.get("gpu_device"), (*place, "gpu_device")),
            min_vram_gb=self._number(tags.get("min_vram_per_device_gb"), place),
            files=files,
        )
        self._check_contradictions(profile, tags, place)
        return profile

    def _count(self, text: str | None, path: KeyPath) -> int:
        if text is None or _COUNT.fullmatch(text):
            return int(text or 1)
        self.fault(path, f"must be a whole number above 0, not {text!r:.60}")
        return 1

    def _number(self, text: str | None, path: KeyPath) -> float | None:
        if text is None or _NUMBER.fullmatch(text):
            return None if text is None else float(text)
        name = "min_vram_per_device_gb"
        self.fault((*path, name), f"must be a number of gigabytes, not {text!r:.60}")
        return None

    def _gpu_device(self, text: str | None, path: KeyPath) -> str | None:
        """Some manifests give the device without NVIDIA's vendor id."""
        if text is None:
            return None
        device = text.lower()
        if not _PCI_DEVICE.fullmatch(device):
            self.fault(path, f"must be a PCI device, such as 2330:10de, not {text!r:.60}")
        return device if ":" in device else device + _NVIDIA

    def _check_contradictions(
        self, profile: NimProfile, tags: dict[str, str], path: KeyPath
    ) -> None:
        width, stages = profile.tensor_parallel, profile.pipeline_parallel
        if "number_of_gpus" in tags:
            count = self._count(tags["number_of_gpus"], (*path, "number_of_gpus"))
            # With pipeline stages on several machines, some manifests count those of one machine.
            if count not in (width, width * stages):
                self.fault((*path, "number_of_gpus"), f"is {count}, but tp is {width}, pp {stages}")
        if not profile.buildable:
            return
        if profile.engine not in ("tensorrt_llm", "trtllm"):
            self.fault((*path, "trtllm_buildable"), f"is true, but the engine is {profile.engine}")
        if any(is_engine_file(file.path) for file in profile.files):
            self.fault(
                (*path, "trtllm_buildable"), "is true, but a built engine is among the files"
            )
