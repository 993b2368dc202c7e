"""A graph that is given all keys and values and returns them with those of the new tokens concatenated.

Knows the names and shapes that optimum's exporter gives such graphs; knows no branches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Floats = NDArray[np.float32]

IDS, MASK, POSITIONS, LOGITS = "input_ids", "attention_mask", "position_ids", "logits"
_PAST = re.compile(r"past_key_values\.(\d{1,4})\.(key|value)", re.ASCII)


class NotSuchAGraph(ValueError):
    """Inputs or outputs are others than those of a decoder with keys and values."""


@dataclass(frozen=True, slots=True)
class CachePort:
    """An input for old keys or values [batch, heads, past, width], and the output for them and the new."""

    past: str
    present: str
    heads: int
    width: int


@dataclass(eq=False, slots=True)
class Block:
    """Keys and values of a batch, [rows, heads, columns, width] for each port; nobody writes to them again.

    Row r begins at column pads[r]: what is before is masked. `users`: branches that are rows of it.
    """

    arrays: tuple[Floats, ...]
    values: tuple[ort.OrtValue, ...]
    pads: tuple[int, ...]
    columns: int
    users: int = 0


class PastGraph:
    """What a loaded graph takes and returns, checked, and a pass through it. Raises NotSuchAGraph."""

    def __init__(self, graph: ort.InferenceSession) -> None:
        self._graph = graph
        inputs = {node.name: node for node in graph.get_inputs()}
        outputs = {node.name: node for node in graph.get_outputs()}
        self.ports = _cache_ports(inputs, outputs)
        expected = {IDS, MASK, POSITIONS, *(port.past for port in self.ports)}
        if unknown := sorted(set(inputs) - expected):
            raise NotSuchAGraph(f"it has the input {unknown[0]!r}")
        for name in (IDS, MASK, POSITIONS):
            if name not in inputs:
                if name == POSITIONS:
                    continue
                raise NotSuchAGraph(f"it has no input {name!r}")
            if inputs[name].type != "tensor(int64)" or len(inputs[name].shape) != 2:
                raise NotSuchAGraph(f"its input {name!r} is no table of int64")
        logits = outputs.get(LOGITS)
        if logits is None or logits.type != "tensor(float)" or len(logits.shape) != 3:
            raise NotSuchAGraph("it has no float32 logits for every position of a batch")
        self.has_positions = POSITIONS in inputs
        """Whether it is told at which position each token stands; else it counts columns or the mask."""
        self.vocab = logits.shape[2]
        if not isinstance(self.vocab, int):
            raise NotSuchAGraph("it does not state how many logits there are")
        self.layers = len({port.past.split(".")[1] for port in self.ports})
        self.bytes_per_token = 4 * sum(port.heads * port.width for port in self.ports)

    def empty(self) -> Block:
        """Return one row without a column."""
        return _block([np.zeros((1, port.heads, 0, port.width), np.float32) for port in self.ports], (0,))

    def gather(self, rows: Sequence[tuple[Block, int, int]]) -> Block:
        """Copy the first `length` tokens of (block, row, length), aligned at their ends, into one block."""
        columns = max(length for _, _, length in rows)
        arrays = []
        for i, port in enumerate(self.ports):
            array = np.zeros((len(rows), port.heads, columns, port.width), np.float32)
            for at, (block, row, length) in enumerate(rows):
                pad = block.pads[row]
                array[at, :, columns - length :] = block.arrays[i][row, :, pad : pad + length]
            arrays.append(array)
        return _block(arrays, tuple(columns - length for _, _, length in rows))

    def run(
        self,
        past: Block,
        tokens: NDArray[np.int64],
        options: ort.RunOptions,
        *,
        logits: bool = True,
    ) -> tuple[Floats, Block]:
        """Append tokens [rows, T] to the rows of a block; return logits [rows, T, vocab] and the longer block.

        Without `logits`, none are computed, and [rows, 0, vocab] are returned.
        """
        rows, count = tokens.shape
        columns = past.columns + count
        mask = np.ones((rows, columns), np.int64)
        for row, pad in enumerate(past.pads):
            mask[row, :pad] = 0
        given = {IDS: tokens, MASK: mask}
        if self.has_positions:
            starts = past.columns - np.asarray(past.pads, np.int64)
            given[POSITIONS] = starts[:, None] + np.arange(count)
        binding = self._graph.io_binding()
        # These keep the arrays alive, which ONNX Runtime does not.
        alive = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in given.items()}
        for name, value in alive.items():
            binding.bind_ortvalue_input(name, value)
        for port, value in zip(self.ports, past.values, strict=True):
            binding.bind_ortvalue_input(port.past, value)
        grown = _block(
            [np.empty((rows, port.heads, columns, port.width), np.float32) for port in self.ports], past.pads
        )
        for port, value in zip(self.ports, grown.values, strict=True):
            binding.bind_ortvalue_output(port.present, value)
        found: Floats = np.empty((rows, count if logits else 0, self.vocab), np.float32)
        if logits:
            alive[LOGITS] = ort.OrtValue.ortvalue_from_numpy(found)
            binding.bind_ortvalue_output(LOGITS, alive[LOGITS])
        else:
            options.only_execute_path_to_fetches = True
        self._graph.run_with_iobinding(binding, options)
        return found, grown


def _block(arrays: Sequence[Floats], pads: tuple[int, ...]) -> Block:
    values = tuple(ort.OrtValue.ortvalue_from_numpy(array) for array in arrays)
    return Block(tuple(arrays), values, pads, arrays[0].shape[2])


def _cache_ports(inputs: dict[str, ort.NodeArg], outputs: dict[str, ort.NodeArg]) -> tuple[CachePort, ...]:
    ports = []
    for name, node in inputs.items():
        if not (match := _PAST.fullmatch(name)):
            continue
        port = f"present.{match[1]}.{match[2]}"
        shape = node.shape
        if node.type != "tensor(float)" or len(shape) != 4 or not all(type(shape[n]) is int for n in (1, 3)):
            raise NotSuchAGraph(f"its input {name!r} is not [batch, heads, past, width] of float32")
        if port not in outputs:
            raise NotSuchAGraph(f"it has no output {port!r}")
        ports.append(CachePort(name, port, shape[1], shape[3]))
    if not ports:
        raise NotSuchAGraph("it keeps no keys and values")
    return tuple(ports)
