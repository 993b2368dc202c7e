"""Tell graphs of fixed shapes where their tokens are: angles of the rotary embedding, and what each token may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from edgetts.architecture import Architecture, rope_tables
from edgetts.runtimes.npu.ports import Codes, Floats, Port, WrongPort

LOCAL = ".local"


@dataclass(frozen=True, slots=True)
class Angles:
    """Rows of the ports `cos` and `sin` by position, [positions, head_dim]; local: those of sliding layers' own base."""

    tables: Mapping[str, Floats]

    @classmethod
    def of(cls, arch: Architecture, positions: int) -> Angles:
        """Compute all rows once."""
        tables: dict[str, Floats] = {}
        for local in (False, True) if arch.rope_theta_local is not None else (False,):
            cos, sin = rope_tables(arch, positions, local=local)
            suffix = LOCAL if local else ""
            tables[f"cos{suffix}"] = np.concatenate([cos, cos], axis=-1)
            tables[f"sin{suffix}"] = np.concatenate([-sin, sin], axis=-1)
        return cls(tables)


class Positions:
    """The ports `cos`, `sin` and `mask` of all passes of one width, which the graphs of that width share.

    Columns of a mask are the cache's positions and then the pass's own tokens; a row of padding sees what a token in
    its place would, so that no row is without anything to look at.
    """

    def __init__(self, arch: Architecture, angles: Angles, context: int, width: int, hidden: float) -> None:
        self._angles, self._hidden = angles, hidden
        self._context, self._width, self._window = context, width, arch.sliding_window
        self._bound: dict[str, tuple[Port, Codes, ort.OrtValue]] = {}
        self._past: int | None = None

    def value(self, port: Port) -> ort.OrtValue:
        """Return what to bind to a port. Raises WrongPort where graphs of one width hold it differently."""
        if port.name not in self._bound:
            array = port.empty()
            self._bound[port.name] = (port, array, ort.OrtValue.ortvalue_from_numpy(array))
            self._past = None
        known, _, value = self._bound[port.name]
        if known != port:
            raise WrongPort(f"{port.name} is not held as in the other graphs")
        return value

    def move(self, past: int) -> None:
        """Write what a pass needs whose first token comes after `past` tokens."""
        if past == self._past:
            return
        for name, (port, array, _) in self._bound.items():
            if name.startswith("mask"):
                visible = self._visible(past, self._window if name.endswith(LOCAL) else None)
                shown, hidden = port.encode(np.array([0.0, self._hidden], np.float32))
                # Its rows are the tokens, once for each query head of a key head.
                groups = array.reshape(-1, *visible.shape)
                groups[:] = np.where(visible, shown, hidden)
            else:
                array[0, 0] = port.encode(self._angles.tables[name][past : past + self._width])
        self._past = past

    def _visible(self, past: int, window: int | None) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Return [width, context + width]: which positions each token attends to, its own among them."""
        own = np.arange(self._width)
        at = np.concatenate([np.arange(self._context), past + own])
        query = past + own[:, None]
        visible = at <= query
        # Of the cache's positions those behind the branch's length hold nothing yet, whatever place they are in.
        visible[:, past : self._context] = False
        if window is not None:
            visible &= at > query - window
        return visible
