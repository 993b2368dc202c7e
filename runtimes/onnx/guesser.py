"""Run a bundle's guessers on ONNX Runtime, one position a call, with their memory bound once."""

from __future__ import annotations

import base64
import binascii
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgetts.bundle import GuesserNote, Manifest
from edgetts.decoding.guessers import Guess
from edgetts.decoding.sampling import Weights
from edgetts.decoding.session import Features, Logits
from edgetts.errors import CorruptFile
from edgetts.runtimes.hardware import physical_cores
from edgetts.runtimes.onnx.graphs import LOAD_ERRORS, first_line
from edgetts.types import LeavingNote

if TYPE_CHECKING:
    from typing_extensions import Self

_Guesser = TypeVar("_Guesser", bound="OnnxGuesser")

_OUTPUTS = {"features.next", "logits", "best", "probability"}


class OnnxGuesser:
    """One graph: its inputs `features` [hidden] and perhaps `token`, its outputs a row for each guess.

    Calls may come from any thread; what `run` returns is copied but for `logits`, valid until the next call.
    """

    def __init__(self, graph: ort.InferenceSession, note: GuesserNote, hidden: int) -> None:
        self.cut = note.cut
        self.vocabulary = _vocabulary(graph)
        self._calibration = tuple(zip(*note.calibration, strict=True))
        rows = 1 if note.kind != "parallel" else len(note.agreement)
        self._graph = graph
        self.lock = threading.RLock()
        self.token = np.zeros((1, 1), np.int64)
        self.features = np.zeros((1, hidden), np.float32)
        self.following = np.zeros((rows, hidden), np.float32)
        self.logits = np.zeros((rows, len(self.vocabulary)), np.float32)
        self.best = np.zeros(rows, np.int64)
        self.probability = np.zeros(rows, np.float32)
        inputs = {"features": self.features, "token": self.token}
        inputs = {node.name: inputs[node.name] for node in graph.get_inputs()}
        outputs = {
            "features.next": self.following,
            "logits": self.logits,
            "best": self.best,
            "probability": self.probability,
        }
        self._binding = graph.io_binding()
        # ONNX Runtime does not keep the values it is given alive.
        self._values = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in (inputs | outputs).items()}
        for name in inputs:
            self._binding.bind_ortvalue_input(name, self._values[name])
        for name in outputs:
            self._binding.bind_ortvalue_output(name, self._values[name])

    @classmethod
    def open(cls, bundle: Path, manifest: Manifest, note: GuesserNote, threads: int | None = None) -> Self:
        """Load a graph of a bundle whose files were checked. Raises CorruptFile."""
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads or physical_cores()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        # The embedding's rows lie in the bundle's weights file, one directory up.
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(bundle.resolve())
        )
        try:
            # By path, not as bytes: what was read is then given back once it is packed.
            graph = ort.InferenceSession(bundle / note.file, settings, providers=["CPUExecutionProvider"])
        except LOAD_ERRORS as error:
            raise CorruptFile(
                f"ONNX Runtime cannot load {note.file} of {bundle.name}: {first_line(error)}", hint=_AGAIN
            ) from error
        wanted = {"features", "token"} if note.kind == "recurrent" else {"features"}
        ports = [{node.name for node in nodes} for nodes in (graph.get_inputs(), graph.get_outputs())]
        if ports != [wanted, _OUTPUTS]:
            raise CorruptFile(f"{note.file} of {bundle.name} holds no guesser.", hint=_AGAIN)
        return cls(graph, note, manifest.architecture.hidden)

    def run(self) -> None:
        """Compute the outputs from `features`, and `token` where there is one; the caller holds `lock`."""
        self._graph.run_with_iobinding(self._binding)

    def confidence(self, probability: float) -> float:
        xs, ys = self._calibration
        return float(np.interp(probability, xs, ys))


class OnnxRecurrent(OnnxGuesser):
    """See `edgetts.decoding.guessers.DraftNetwork`."""

    def guess(self, features: Features, token: int, temperature: float | None = None) -> Guess:
        with self.lock:
            self.features[0] = features
            self.token[0, 0] = token
            self.run()
            weights = None
            if temperature is not None:
                logits = self.logits[0].astype(np.float64)
                exact = np.exp((logits - logits.max()) / temperature)
                weights = Weights(self.vocabulary, exact / exact.sum())
            return Guess(int(self.best[0]), float(self.probability[0]), self.following[0].copy(), weights)


class OnnxParallel(OnnxGuesser):
    """See `edgetts.decoding.guessers.ParallelNetwork`."""

    def guess_ahead(self, features: Features) -> list[tuple[int, float]]:
        with self.lock:
            self.features[0] = features
            self.run()
            return list(zip(self.best.tolist(), self.probability.tolist(), strict=True))


class OnnxExit(OnnxGuesser):
    """See `edgetts.decoding.early_exit.ExitHead`."""

    def read(self, stream: Features) -> Logits:
        with self.lock:
            self.features[0] = stream
            self.run()
            logits: Logits = self.logits[0].copy()
            return logits


class OnnxGuessers:
    """All guessers of a bundle, each opened when it is first asked for. See `edgetts.decoding.guessers`."""

    def __init__(self, bundle: Path, manifest: Manifest, threads: int | None = None) -> None:
        self._bundle, self._manifest, self._threads = bundle, manifest, threads
        self._open: dict[str, OnnxGuesser] = {}
        self._lock = threading.Lock()

    @property
    def kinds(self) -> frozenset[str]:
        exits = self._manifest.exits
        return frozenset() if exits is None else frozenset(note.kind for note in exits.guessers)

    @property
    def recurrent(self) -> OnnxRecurrent | None:
        return next((self._get(OnnxRecurrent, note) for note in self._of("recurrent")), None)

    @property
    def parallel(self) -> OnnxParallel | None:
        return next((self._get(OnnxParallel, note) for note in self._of("parallel")), None)

    def exit(self, cut: int) -> OnnxExit | None:
        return next((self._get(OnnxExit, note) for note in self._of("exit") if note.cut == cut), None)

    @property
    def exits(self) -> dict[int, float]:
        return {note.cut: note.agreement[0] for note in self._of("exit")}

    @property
    def leaving(self) -> tuple[LeavingNote, ...]:
        return () if self._manifest.exits is None else self._manifest.exits.leaving

    def _of(self, kind: str) -> tuple[GuesserNote, ...]:
        return () if self._manifest.exits is None else self._manifest.exits.of_kind(kind)

    def _get(self, kind: type[_Guesser], note: GuesserNote) -> _Guesser:
        with self._lock:
            found = self._open.get(note.file)
            if not isinstance(found, kind):
                found = kind.open(self._bundle, self._manifest, note, self._threads)
                self._open[note.file] = found
            return found


_AGAIN = "Train them again: edgetts exits train."


def _vocabulary(graph: ort.InferenceSession) -> NDArray[np.int64]:
    text = graph.get_modelmeta().custom_metadata_map.get("vocabulary", "")
    try:
        ids = np.frombuffer(base64.b64decode(text, validate=True), "<i4").astype(np.int64)
    except (ValueError, binascii.Error):
        ids = np.zeros(0, np.int64)
    if not len(ids) or np.any(np.diff(ids) <= 0) or ids[0] < 0:
        raise CorruptFile("A guesser of the bundle names no vocabulary.", hint=_AGAIN)
    return ids
