"""Metadata and tensors of a GGUF file, from its first bytes.

The format (versions 2 and 3, little-endian), its value types and its checks follow ggml's
`docs/gguf.md` and `gguf.cpp`; tensor and file types follow `gguf/constants.py` of gguf 0.19.
"""

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

LARGEST_HEADER_BYTES = 256 * 1024**2
_MOST_ENTRIES = 1_000_000
_LONGEST_STRING = 16 * 1024**2
_LENGTH = struct.Struct("<Q")
_LONGEST_KEPT_ARRAY = 4096
_MOST_DIMENSIONS = 4
_MOST_ELEMENTS = 2**62
_DEFAULT_ALIGNMENT = 32

Scalar = int | float | bool | str
MetadataValue = Scalar | tuple[Scalar, ...]

_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
"""Value types of one number each, as struct letters."""

TENSOR_TYPES = {
    0: ("f32", 1, 4), 1: ("f16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 9: ("q8_1", 32, 40),
    10: ("q2_k", 256, 84), 11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210), 15: ("q8_k", 256, 292), 16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74), 18: ("iq3_xxs", 256, 98), 19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18), 21: ("iq3_s", 256, 110), 22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136), 24: ("i8", 1, 1), 25: ("i16", 1, 2), 26: ("i32", 1, 4),
    27: ("i64", 1, 8), 28: ("f64", 1, 8), 29: ("iq1_m", 256, 56), 30: ("bf16", 1, 2),
    34: ("tq1_0", 256, 54), 35: ("tq2_0", 256, 66), 39: ("mxfp4", 32, 17), 40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
}  # fmt: skip
"""Name, weights of one block and bytes of one block, by ggml's type number."""

FILE_TYPES = {
    0: "fp32", 1: "fp16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1", 10: "q2_k",
    11: "q3_k_s", 12: "q3_k_m", 13: "q3_k_l", 14: "q4_k_s", 15: "q4_k_m", 16: "q5_k_s",
    17: "q5_k_m", 18: "q6_k", 19: "iq2_xxs", 20: "iq2_xs", 21: "q2_k_s", 22: "iq3_xs",
    23: "iq3_xxs", 24: "iq1_s", 25: "iq4_nl", 26: "iq3_s", 27: "iq3_m", 28: "iq2_s", 29: "iq2_m",
    30: "iq4_xs", 31: "iq1_m", 32: "bf16", 36: "tq1_0", 37: "tq2_0", 38: "mxfp4", 39: "nvfp4",
    40: "q1_0",
}  # fmt: skip
"""What `general.file_type` calls a mixture of tensor types."""

_GUESSED_FILE_TYPE = 1024
_PLAIN = {"f32": "fp32", "f16": "fp16"}


class GgufError(ValueError):
    """A header is not what the format allows; the message says where."""


class TruncatedGgufError(GgufError):
    """The bytes end before the header does.

    Attributes:
        needed_bytes: The least number of bytes from the start of the file that would lead further;
            the format does not say how long the whole header is.
    """

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"the header needs at least the first {needed_bytes} bytes of the file")
        self.needed_bytes = needed_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufTensor:
    """One stored tensor; the first number of its shape is the length of a row."""

    name: str
    type_name: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """Weights in it."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufHeader:
    """What the head of a GGUF file says.

    Attributes:
        version: Of the format.
        metadata: Single values, and lists of up to 4096 numbers.
        array_lengths: How long each list is, those left out of `metadata` too.
        tensors: In the order in which they lie.
        header_bytes: Where the first tensor begins.
        file_bytes: Where the last one ends; the file may be padded to the alignment.
    """

    version: int
    metadata: Mapping[str, MetadataValue]
    array_lengths: Mapping[str, int]
    tensors: tuple[GgufTensor, ...]
    header_bytes: int
    file_bytes: int

    @property
    def architecture(self) -> str | None:
        """llama.cpp's name of the architecture, e.g. `llama`."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else None

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors, without the padding between them."""
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Weights of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def precision(self) -> str | None:
        """The file type's name, e.g. `q4_k_m`; else what most weights are in; None without any."""
        declared = self.metadata.get("general.file_type")
        if isinstance(declared, int) and (declared & ~_GUESSED_FILE_TYPE) in FILE_TYPES:
            return FILE_TYPES[declared & ~_GUESSED_FILE_TYPE]
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.type_name] += tensor.elements
        if not counts:
            return None
        name = counts.most_common(1)[0][0]
        return _PLAIN.get(name, name)

    @property
    def has_chat_template(self) -> bool:
        """Whether the file says how a conversation is written."""
        return bool(self.metadata.get("tokenizer.chat_template"))

    @property
    def parts(self) -> int:
        """Files the model is split into; this header describes the tensors of one of them."""
        value = self.metadata.get("split.count", 1)
        return value if isinstance(value, int) and value > 0 else 1


def parse_gguf_header(data: bytes) -> GgufHeader:
    """Read a GGUF header from the first bytes of a file.

    Time and memory are bounded by the length of `data`, whatever sizes it claims.

    Raises:
        TruncatedGgufError: `data` is too short; it says how much is needed at least.
        GgufError: it is no GGUF of version 2 or 3, or is malformed.
    """
    reader = _Reader(data)
    if reader.take(4) != b"GGUF":
        raise GgufError("it does not begin with GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        swapped = version & 0xFFFF == 0 and version != 0
        raise GgufError("it is big-endian" if swapped else f"GGUF version {version} is not 2 or 3")
    tensor_count, pair_count = reader.count("tensors"), reader.count("metadata keys")
    metadata: dict[str, MetadataValue] = {}
    array_lengths: dict[str, int] = {}
    for _ in range(pair_count):
        key = reader.text()
        if key in metadata or key in array_lengths:
            raise GgufError(f"it gives {key[:80]!r} twice")
        _read_value(reader, key, metadata, array_lengths)
    alignment = _read_alignment(metadata)
    placed = [_read_tensor(reader) for _ in range(tensor_count)]
    if len({tensor.name for _, tensor in placed}) != len(placed):
        raise GgufError("it gives one tensor's name twice")
    header_bytes = _pad(reader.place, alignment)
    return GgufHeader(
        version=version,
        metadata=metadata,
        array_lengths=array_lengths,
        tensors=tuple(tensor for _, tensor in placed),
        header_bytes=header_bytes,
        file_bytes=header_bytes + _check_places(placed, alignment),
    )


class _Reader:
    """Takes one value after another, never beyond the bytes there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def skip(self, size_bytes: int) -> int:
        """Step over bytes that must exist; returns where they begin."""
        begin, end = self.place, self.place + size_bytes
        if end > LARGEST_HEADER_BYTES:
            raise GgufError(f"a header of over {LARGEST_HEADER_BYTES} bytes is not read")
        if end > len(self._data):
            raise TruncatedGgufError(end)
        self.place = end
        return begin

    def take(self, size_bytes: int) -> bytes:
        begin = self.skip(size_bytes)
        return self._data[begin : self.place]

    def number(self, letter: str) -> int:
        return int(self.scalar(letter))

    def scalar(self, letter: str) -> int | float | bool:
        begin = self.skip(struct.calcsize(f"<{letter}"))
        value: int | float | bool = struct.unpack_from(f"<{letter}", self._data, begin)[0]
        return value

    def scalars(self, letter: str, count: int) -> tuple[Scalar, ...]:
        begin = self.skip(struct.calcsize(f"<{letter}") * count)
        return struct.unpack_from(f"<{count}{letter}", self._data, begin)

    def count(self, what: str) -> int:
        count = self.number("Q")
        if count > _MOST_ENTRIES:
            raise GgufError(f"{count} {what} are more than any model has")
        return count

    def skip_text(self) -> int:
        length = self.number("Q")
        if length > _LONGEST_STRING:
            raise GgufError(f"a text of {length} bytes is longer than any model's")
        return self.skip(length)

    def skip_texts(self, count: int) -> None:
        """Step over many: vocabularies have hundreds of thousands."""
        read_length, data, place = _LENGTH.unpack_from, self._data, self.place
        end = min(len(data), LARGEST_HEADER_BYTES)
        for _ in range(count):
            begin = place + _LENGTH.size
            length = read_length(data, place)[0] if begin <= end else 0
            if begin > end or length > end - begin or length > _LONGEST_STRING:
                self.place = place
                self.skip_text()  # which says what is wrong
            place = begin + length
        self.place = place

    def text(self) -> str:
        begin = self.skip_text()
        try:
            return self._data[begin : self.place].decode()
        except UnicodeDecodeError as error:
            raise GgufError(f"the text at {begin} is not UTF-8") from error


def _read_value(
    reader: _Reader,
    key: str,
    metadata: dict[str, MetadataValue],
    array_lengths: dict[str, int],
) -> None:
    kind = reader.number("I")
    if kind in _SCALARS:
        metadata[key] = reader.scalar(_SCALARS[kind])
    elif kind == _STRING:
        metadata[key] = reader.text()
    elif kind == _ARRAY:
        item, length = reader.number("I"), reader.number("Q")
        array_lengths[key] = length
        if item == _STRING:
            reader.skip_texts(length)
        elif item not in _SCALARS:
            raise GgufError(f"{key[:80]!r} is a list of the unknown type {item}")
        elif length <= _LONGEST_KEPT_ARRAY:
            metadata[key] = reader.scalars(_SCALARS[item], length)
        else:
            reader.skip(struct.calcsize(f"<{_SCALARS[item]}") * length)
    else:
        raise GgufError(f"{key[:80]!r} has the unknown type {kind}")


def _read_alignment(metadata: Mapping[str, MetadataValue]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise GgufError("general.alignment is not a power of two")
    return alignment


def _read_tensor(reader: _Reader) -> tuple[int, GgufTensor]:
    """One entry of the table: where the tensor begins after the header, and what it is."""
    name = reader.text()
    dimensions = reader.number("I")
    if dimensions > _MOST_DIMENSIONS:
        raise GgufError(f"tensor {name[:80]!r} has {dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(dimensions))
    kind, place = reader.number("I"), reader.number("Q")
    if kind not in TENSOR_TYPES:
        raise GgufError(f"tensor {name[:80]!r} has the unknown type {kind}")
    type_name, block, block_bytes = TENSOR_TYPES[kind]
    elements = prod(shape)
    if elements > _MOST_ELEMENTS or (shape[0] if shape else 1) % block:
        raise GgufError(f"tensor {name[:80]!r} has no rows of whole {type_name} blocks")
    return place, GgufTensor(
        name=name, type_name=type_name, shape=shape, size_bytes=elements // block * block_bytes
    )


def _check_places(placed: list[tuple[int, GgufTensor]], alignment: int) -> int:
    """Tensors follow one another, each begun at the alignment; returns where the last ends."""
    end = 0
    for place, tensor in placed:
        if place != _pad(end, alignment):
            raise GgufError(f"tensor {tensor.name[:80]!r} does not follow the one before it")
        end = place + tensor.size_bytes
    return end


def _pad(place: int, alignment: int) -> int:
    return (place + alignment - 1) // alignment * alignment
