"""Hold quantised matrices as integers with scales, and read them from GGUF's block formats exactly.

Knows the layout of GGUF's blocks; knows nothing of files, layers or graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetts.errors import CorruptFile

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# Elements unpacked at a time: temporaries stay at a few times this many bytes, whatever the matrix.
_CHUNK = 1 << 21


@dataclass(frozen=True, slots=True)
class Affine:
    """A matrix [rows, cols] as integer codes: W = scales * (codes - zero) + offsets, per block of a row.

    codes: uint8 [rows, cols], each below 2**bits, one code a byte. scales, offsets and zeros: one
    value per block, [rows, cols / block]. The code that means zero is 8 (4 bits) or 128 (8 bits),
    unless `zeros` says otherwise.
    """

    bits: int
    block: int
    codes: Bytes
    scales: Floats
    offsets: Floats | None = None
    zeros: Bytes | None = None

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def cols(self) -> int:
        return int(self.codes.shape[1])

    @property
    def zero(self) -> int:
        """The code that means zero where there are no `zeros`."""
        return 1 << (self.bits - 1)

    @property
    def form(self) -> tuple[int, int, int, bool, bool]:
        """What two matrices must share to be stacked: bits, block, columns, and which parts they have."""
        return self.bits, self.block, self.cols, self.offsets is not None, self.zeros is not None

    @property
    def stored_bytes(self) -> int:
        """Bytes in a file, the codes packed."""
        extra = (self.offsets, self.zeros if self.bits == 8 else None)
        nibbles = 0 if self.zeros is None or self.bits == 8 else self.zeros.size // 2
        parts = sum(array.nbytes for array in extra if array is not None)
        return self.codes.size * self.bits // 8 + self.scales.nbytes + parts + nibbles

    def select(self, rows: slice | NDArray[np.intp]) -> Affine:
        """Return some of the rows, in the order given."""
        return Affine(
            self.bits,
            self.block,
            self.codes[rows],
            self.scales[rows],
            None if self.offsets is None else self.offsets[rows],
            None if self.zeros is None else self.zeros[rows],
        )

    def dequantize(self) -> Floats:
        """Return the matrix in float32."""
        out = np.empty((self.rows, self.cols // self.block, self.block), np.float32)
        codes = self.codes.reshape(out.shape)
        step = max(1, _CHUNK // self.cols)
        with np.errstate(all="ignore"):
            for at in range(0, self.rows, step):
                rows = slice(at, at + step)
                part = out[rows]
                zero = np.float32(self.zero) if self.zeros is None else self.zeros[rows, :, None]
                np.subtract(codes[rows], zero, out=part, dtype=np.float32)
                part *= self.scales[rows, :, None]
                if self.offsets is not None:
                    part += self.offsets[rows, :, None]
        return out.reshape(self.rows, self.cols)


def affine_from_gguf(raw: Bytes, kind: str, shape: tuple[int, ...]) -> Affine | None:
    """Unpack a matrix [rows, cols] stored in GGUF's blocks of `kind`; None where that is no integer form.

    Exact: the values equal GGUF's, up to the float32 rounding of the one addition that makes an offset.
    """
    layout = _LAYOUTS.get(kind)
    if layout is None:
        return None
    rows, cols = shape
    if cols % layout.elements or raw.size != rows * (cols // layout.elements) * layout.nbytes:
        raise CorruptFile(f"A {kind} matrix of {rows} x {cols} cannot take {raw.size} bytes.")
    codes = np.empty((rows, cols), np.uint8)
    scales = np.empty((rows, cols // layout.block), np.float32)
    offsets = np.empty_like(scales) if layout.has_offsets else None
    bytes_per_row = raw.size // rows
    source = raw.reshape(rows, bytes_per_row)
    step = max(1, _CHUNK // cols)
    with np.errstate(all="ignore"):
        for at in range(0, rows, step):
            part = slice(at, min(at + step, rows))
            count = part.stop - at
            unpacked = layout.unpack(source[part].reshape(-1, layout.nbytes))
            codes[part] = unpacked.codes.reshape(count, cols)
            scales[part] = unpacked.scales.reshape(count, -1)
            if offsets is not None and unpacked.offsets is not None:
                offsets[part] = unpacked.offsets.reshape(count, -1)
    return Affine(layout.bits, layout.block, codes, scales, offsets)


class _Unpacked(NamedTuple):
    codes: Bytes
    scales: Floats
    offsets: Floats | None = None


class _Layout(NamedTuple):
    elements: int
    nbytes: int
    bits: int
    block: int
    has_offsets: bool
    unpack: Callable[[Bytes], _Unpacked]


def _half(blocks: Bytes, at: int) -> Floats:
    """Read the float16 at byte `at` of every block as float32 [n, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes, group: int) -> Bytes:
    """Split bytes: of every `group` bytes, first all low halves, then all high halves."""
    n = len(packed)
    split = packed.reshape(n, -1, 1, group)
    both = np.concatenate([split & 15, split >> 4], axis=2)
    return both.reshape(n, -1)


def _bit_planes(packed: Bytes, group: int, bits: int) -> Bytes:
    """Split bytes into fields of `bits`: of every `group` bytes, first all lowest fields, and so on."""
    n = len(packed)
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    planes = (packed.reshape(n, -1, 1, group) >> shifts) & np.uint8((1 << bits) - 1)
    return np.asarray(planes, np.uint8).reshape(n, -1)


def _fifth_bits(packed: Bytes) -> Bytes:
    """Read 32 single bits from 4 bytes, lowest first, each in the place of bit 4."""
    return np.left_shift(np.unpackbits(packed, axis=1, bitorder="little"), 4, dtype=np.uint8)


def _q4_0(b: Bytes) -> _Unpacked:
    return _Unpacked(_nibbles(b[:, 2:], 16), _half(b, 0))


def _q4_1(b: Bytes) -> _Unpacked:
    scale = _half(b, 0)
    # d q + m = d (q - 8) + (m + 8 d)
    return _Unpacked(_nibbles(b[:, 4:], 16), scale, _half(b, 2) + 8 * scale)


def _q5_0(b: Bytes) -> _Unpacked:
    codes = _nibbles(b[:, 6:], 16) | _fifth_bits(b[:, 2:6])
    return _Unpacked(codes + np.uint8(128 - 16), _half(b, 0))


def _q5_1(b: Bytes) -> _Unpacked:
    codes = _nibbles(b[:, 8:], 16) | _fifth_bits(b[:, 4:8])
    scale = _half(b, 0)
    # Centred, so that kernels which round their input multiply it with the smallest numbers.
    return _Unpacked(codes + np.uint8(128 - 16), scale, _half(b, 2) + 16 * scale)


def _q8_0(b: Bytes) -> _Unpacked:
    return _Unpacked(b[:, 2:] ^ np.uint8(128), _half(b, 0))


def _q2_k(b: Bytes) -> _Unpacked:
    scale = _half(b, 80) * (b[:, :16] & 15)
    minimum = _half(b, 82) * (b[:, :16] >> 4)
    # 0..3, centred on 2.
    return _Unpacked(_bit_planes(b[:, 16:80], 32, 2) + np.uint8(8 - 2), scale, 2 * scale - minimum)


def _q3_k(b: Bytes) -> _Unpacked:
    # The 16 scales have 6 bits: the low four in bytes 0 to 7, the high two in bytes 8 to 11.
    packed = b[:, 96:108]
    six = _nibbles(packed[:, :8], 8) | (_bit_planes(packed[:, 8:], 4, 2) << np.uint8(4))
    scale = _half(b, 108) * (six.astype(np.float32) - 32)
    # A set bit in the mask means that 4 is not subtracted.
    codes = _bit_planes(b[:, 32:96], 32, 2) + (_bit_planes(b[:, :32], 32, 1) << np.uint8(2))
    return _Unpacked(codes + np.uint8(8 - 4), scale)


def _k_scales(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Read the eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K from 12 bytes."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    return scales, minima


def _q4_k(b: Bytes) -> _Unpacked:
    scales, minima = _k_scales(b[:, 4:16])
    scale = _half(b, 0) * scales
    return _Unpacked(_nibbles(b[:, 16:], 32), scale, 8 * scale - _half(b, 2) * minima)


def _q5_k(b: Bytes) -> _Unpacked:
    scales, minima = _k_scales(b[:, 4:16])
    scale = _half(b, 0) * scales
    codes = _nibbles(b[:, 48:], 32) | (_bit_planes(b[:, 16:48], 32, 1) << np.uint8(4))
    return _Unpacked(codes + np.uint8(128 - 16), scale, 16 * scale - _half(b, 2) * minima)


def _q6_k(b: Bytes) -> _Unpacked:
    scale = _half(b, 208) * np.ascontiguousarray(b[:, 192:208]).view(np.int8)
    codes = _nibbles(b[:, :128], 64) | (_bit_planes(b[:, 128:192], 32, 2) << np.uint8(4))
    return _Unpacked(codes + np.uint8(128 - 32), scale)


# The 16 values of IQ4_NL's codebook, as codes around 128.
_IQ4_CODES = np.array(
    [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241],
    dtype=np.uint8,
)


def _iq4_nl(b: Bytes) -> _Unpacked:
    return _Unpacked(_IQ4_CODES[_nibbles(b[:, 2:], 16)], _half(b, 0))


def _iq4_xs(b: Bytes) -> _Unpacked:
    high = _bit_planes(np.ascontiguousarray(b[:, 2:4]), 1, 2)
    six = _nibbles(b[:, 4:8], 1) | (high << np.uint8(4))
    scale = _half(b, 0) * (six.astype(np.float32) - 32)
    return _Unpacked(_IQ4_CODES[_nibbles(b[:, 8:], 16)], scale)


_LAYOUTS = {
    "Q4_0": _Layout(32, 18, 4, 32, False, _q4_0),
    "Q4_1": _Layout(32, 20, 4, 32, True, _q4_1),
    "Q5_0": _Layout(32, 22, 8, 32, False, _q5_0),
    "Q5_1": _Layout(32, 24, 8, 32, True, _q5_1),
    "Q8_0": _Layout(32, 34, 8, 32, False, _q8_0),
    "Q2_K": _Layout(256, 84, 4, 16, True, _q2_k),
    "Q3_K": _Layout(256, 110, 4, 16, False, _q3_k),
    "Q4_K": _Layout(256, 144, 4, 32, True, _q4_k),
    "Q5_K": _Layout(256, 176, 8, 32, True, _q5_k),
    "Q6_K": _Layout(256, 210, 8, 16, False, _q6_k),
    "IQ4_NL": _Layout(32, 18, 8, 32, False, _iq4_nl),
    "IQ4_XS": _Layout(256, 136, 8, 32, False, _iq4_xs),
}
