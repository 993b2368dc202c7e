"""Parse the header of a GGUF file, trusting nothing in it: metadata, and where every tensor lies.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from mmap import mmap
from typing import Any, NoReturn

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from edgetts.errors import CorruptFile, UnsupportedModel
from edgetts.export.mapped_file import DAMAGED_HINT, TensorInfo, check_spans, shorten

# Tensor types that can be turned into numbers, by GGUF's names.
READABLE_KINDS = (
    *("F32", "F16", "BF16"),
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
    *("TQ1_0", "TQ2_0", "MXFP4"),
)

# Far above any model, far below what would hurt.
_MAX_ENTRIES = 1 << 16
_MAX_NAME_BYTES = 1024
_MAX_STRINGS = 1 << 22
_MAX_NUMBERS = 1 << 26
_MAX_NESTED = 1 << 12
_MAX_DEPTH = 2
_MAX_ALIGNMENT = 1 << 16

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_STRING, _ARRAY, _BOOL = 8, 9, 7
_NUMBERS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    _BOOL: np.dtype("u1"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}


class GgufHeader:
    """Everything before the tensors' bytes. Raises CorruptFile and UnsupportedModel."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    def __init__(self, file: str, data: mmap) -> None:
        self._file = file
        self._data = data
        self._size = len(data)
        self._at = 0
        tensor_count, entry_count = self._start()
        entries: dict[str, _Span] = {}
        for _ in range(entry_count):
            key = self._name("a metadata key")
            if key in entries:
                self._corrupt(f"the metadata key {shorten(key)} appears twice")
            entries[key] = self._value(self._u32(), key, 0)
        self.metadata = _Metadata(file, data, entries)
        self.tensors = self._tensors(tensor_count)

    def _start(self) -> tuple[int, int]:
        magic = self._data[:4]
        if magic != b"GGUF":
            self._corrupt(f"it begins with {magic!r} and not with b'GGUF', so it is no GGUF file")
        self._at = 4
        version = self._u32()
        if version & 0xFFFF == 0:
            raise UnsupportedModel(
                f"{self._file} is a big-endian GGUF file.", hint="edgetts reads little-endian ones."
            )
        if version not in (2, 3):
            raise UnsupportedModel(
                f"{self._file} has GGUF version {version}.", hint="edgetts reads versions 2 and 3."
            )
        tensor_count, entry_count = self._u64(), self._u64()
        left = self._size - self._at
        # The smallest tensor entry takes 33 bytes, the smallest metadata entry 14.
        for count, least, what in ((tensor_count, 33, "tensors"), (entry_count, 14, "metadata entries")):
            if count > _MAX_ENTRIES or count * least > left:
                self._corrupt(f"its header claims {count} {what}")
        return tensor_count, entry_count

    def _tensors(self, count: int) -> dict[str, TensorInfo]:
        found: dict[str, TensorInfo] = {}
        alignment = self._alignment()
        for _ in range(count):
            name = self._name("a tensor's name")
            if name in found:
                self._corrupt(f"the tensor {shorten(name)} appears twice")
            dimensions = self._u32()
            if not 1 <= dimensions <= 4:
                self._corrupt(f"the tensor {shorten(name)} has {dimensions} dimensions")
            shape = tuple(self._u64() for _ in range(dimensions))[::-1]
            kind, nbytes = self._layout(name, self._u32(), shape)
            offset = self._u64()
            if offset % alignment:
                self._corrupt(f"the tensor {shorten(name)} is not aligned to {alignment} bytes")
            found[name] = TensorInfo(name, shape, kind, offset, nbytes)
        start = -(-self._at // alignment) * alignment
        tensors = {
            t.name: TensorInfo(t.name, t.shape, t.kind, start + t.offset, t.nbytes) for t in found.values()
        }
        check_spans(self._file, start, self._size, tensors.values(), gaps=True)
        return tensors

    def _layout(self, name: str, number: int, shape: tuple[int, ...]) -> tuple[str, int]:
        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            kind = None
        if kind is None or kind.name not in READABLE_KINDS:
            raise UnsupportedModel(
                f"{self._file} stores the tensor {shorten(name)} as type {kind.name if kind else number}.",
                hint=f"edgetts reads {', '.join(READABLE_KINDS)}.",
            )
        elements = 1
        for length in shape:
            elements *= length
        per_block, block_bytes = GGML_QUANT_SIZES[kind]
        if not elements:
            self._corrupt(f"the tensor {shorten(name)} is empty")
        if shape[-1] % per_block:
            self._corrupt(
                f"the rows of the tensor {shorten(name)} have {shape[-1]} values, "
                f"which {kind.name} cannot store in blocks of {per_block}"
            )
        return kind.name, elements // per_block * block_bytes

    def _alignment(self) -> int:
        alignment = self.metadata.get("general.alignment", 32)
        sane = isinstance(alignment, int) and 1 <= alignment <= _MAX_ALIGNMENT
        if not sane or alignment & (alignment - 1):
            self._corrupt(
                f"its alignment is {str(alignment)[:40]}, which is no power of two up to {_MAX_ALIGNMENT}"
            )
        return int(alignment)

    def _value(self, kind: int, key: str, depth: int) -> _Span:
        """Step over a value and return where it lies."""
        if kind in _NUMBERS:
            return _Span(kind, self._skip(_NUMBERS[kind].itemsize), 1)
        if kind == _STRING:
            return _Span(kind, self._skip(self._u64()), 1, end=self._at)
        if kind == _ARRAY:
            return self._array(key, depth)
        return self._corrupt(f"the metadata entry {shorten(key)} has the unknown type {kind}")

    def _array(self, key: str, depth: int) -> _Span:
        kind, count = self._u32(), self._u64()
        start = self._at
        if kind in _NUMBERS:
            self._limit(count, _MAX_NUMBERS, key)
            self._skip(count * _NUMBERS[kind].itemsize)
            return _Span(kind, start, count, array=True)
        if kind == _STRING:
            self._limit(count, _MAX_STRINGS, key)
            self._skip_strings(count)
            return _Span(kind, start, count, array=True, end=self._at)
        if kind == _ARRAY and depth < _MAX_DEPTH:
            self._limit(count, _MAX_NESTED, key)
            inner = tuple(self._array(key, depth + 1) for _ in range(count))
            return _Span(kind, start, count, array=True, inner=inner)
        what = "is nested too deeply" if kind == _ARRAY else f"has the unknown type {kind}"
        return self._corrupt(f"the metadata array {shorten(key)} {what}")

    def _limit(self, count: int, most: int, key: str) -> None:
        if count > most:
            self._corrupt(f"the metadata array {shorten(key)} claims {count} values")

    def _skip_strings(self, count: int) -> None:
        """Step over strings. A vocabulary has 150,000 and more, so this loop does nothing else."""
        at, data, unpack = self._at, self._data, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(data, at)[0]
        except (struct.error, OverflowError):
            self._truncated()
        self._skip(at - self._at)

    def _name(self, what: str) -> str:
        length = self._u64()
        if not 1 <= length <= _MAX_NAME_BYTES:
            self._corrupt(f"{what} has {length} bytes")
        start = self._skip(length)
        try:
            return self._data[start : self._at].decode("utf-8")
        except UnicodeDecodeError:
            return self._corrupt(f"{what} at byte {start} is not UTF-8")

    def _u32(self) -> int:
        return int(_U32.unpack_from(self._data, self._skip(4))[0])

    def _u64(self) -> int:
        return int(_U64.unpack_from(self._data, self._skip(8))[0])

    def _skip(self, count: int) -> int:
        """Move on by some bytes and return where they start."""
        start = self._at
        if count > self._size - start:
            self._truncated()
        self._at = start + count
        return start

    def _truncated(self) -> NoReturn:
        raise CorruptFile(
            f"{self._file} is cut off: its header does not fit into its {self._size} bytes.",
            hint=DAMAGED_HINT,
        )

    def _corrupt(self, what: str) -> NoReturn:
        raise CorruptFile(f"{self._file} is damaged: {what}.", hint=DAMAGED_HINT)


class _Span:
    """Where a metadata value lies, and how to read it."""

    __slots__ = ("array", "count", "end", "inner", "kind", "start")

    def __init__(
        self,
        kind: int,
        start: int,
        count: int,
        *,
        array: bool = False,
        end: int = 0,
        inner: tuple[_Span, ...] = (),
    ) -> None:
        self.kind, self.start, self.count = kind, start, count
        self.array, self.end, self.inner = array, end, inner


class _Metadata(Mapping[str, Any]):
    """Decode values when they are first asked for: str, int, float, bool, or lists of them."""

    def __init__(self, file: str, data: mmap, entries: dict[str, _Span]) -> None:
        self._file = file
        self._data = data
        self._entries = entries
        self._decoded: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._decoded:
            self._decoded[key] = self._decode(key, self._entries[key])
        return self._decoded[key]

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _decode(self, key: str, span: _Span) -> Any:
        if span.kind == _ARRAY:
            return [self._decode(key, inner) for inner in span.inner]
        if span.kind == _STRING:
            try:
                if span.array:
                    return _decode_strings(self._data[span.start : span.end], span.count)
                return self._data[span.start : span.end].decode("utf-8")
            except UnicodeDecodeError as error:
                raise CorruptFile(
                    f"{self._file} is damaged: the metadata entry {shorten(key)} is not UTF-8.",
                    hint=DAMAGED_HINT,
                ) from error
        numbers = np.frombuffer(self._data, _NUMBERS[span.kind], span.count, span.start)
        if span.kind == _BOOL:
            if (numbers > 1).any():
                raise CorruptFile(
                    f"{self._file} is damaged: the metadata entry {shorten(key)} is neither true nor false.",
                    hint=DAMAGED_HINT,
                )
            numbers = numbers.astype(np.bool_)
        return numbers.tolist() if span.array else numbers[0].item()


def _decode_strings(data: bytes, count: int) -> list[str]:
    """Split strings whose lengths have been checked."""
    strings, at, unpack = [], 0, _U64.unpack_from
    for _ in range(count):
        start = at + 8
        at = start + unpack(data, at)[0]
        strings.append(data[start:at].decode("utf-8"))
    return strings
