"""A device that is not there: passes take what a test says, on a clock that only work moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgetts.decoding.session import Branch, Cancellation, Capabilities, Logits, SessionInfo
from edgetts.energy.meter import Energy, EnergyMeter
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.measuring.subject import Instruments, Subject
from edgetts.testing import FakeSession, ToyModel

DAY = "2026-11-28"
CURVE = StepTimes(
    (1, 2, 4, 8, 16, 32),
    (0.010, 0.011, 0.014, 0.020, 0.030, 0.060),
    400.0,
    "measured",
    DAY,
    past=64,
    growth=4e-6,
)
"""Seconds of a small model on a fast device."""


class DeviceClock:
    """Seconds since the device was switched on."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Device:
    """What runs a model, and who else. slow: how much longer passes take, by the seconds since it began.

    after_pass: called with the number of every pass when it is done. opening: seconds that opening the model takes.
    threads: how much longer passes take by number of threads.
    """

    def __init__(
        self,
        times: StepTimes = CURVE,
        *,
        slow: Callable[[float], float] = lambda seconds: 1.0,
        opening: float = 0.5,
        threads: dict[int | None, float] | None = None,
        capabilities: Capabilities | None = None,
        context: int = 4096,
        bytes_per_token: int = 1000,
    ) -> None:
        self.times, self.slow, self.opening = times, slow, opening
        self.threads = threads or {}
        self.capabilities = capabilities or Capabilities(tolerance=0.0)
        self.context, self.bytes_per_token = context, bytes_per_token
        self.clock = DeviceClock()
        self.began = self.clock.now
        self.passes = 0
        self.after_pass: Callable[[int], None] = lambda passes: None
        self.sessions: list[DeviceSession] = []
        self.busy: list[float] = []
        self.said: list[str] = []
        self.shown: list[tuple[str, float]] = []
        self.cancel = Cancellation()
        self.watts: tuple[float, float] | None = None
        self.joules = 0.0

    @property
    def elapsed(self) -> float:
        return self.clock.now - self.began

    @property
    def resident(self) -> int:
        """Bytes of the process: 100 MB a loaded model, and for each branch 5 kB beside its tokens."""
        open_now = [session for session in self.sessions if not session.closed]
        branches = [branch for session in open_now for branch in session.live]
        tokens = sum(branch.length for branch in branches)
        return 10**9 + 10**8 * len(open_now) + tokens * self.bytes_per_token + 5000 * len(branches)

    def work(self, seconds: float, threads: int | None) -> None:
        taken = seconds * self.slow(self.elapsed) * self.threads.get(threads, 1.0)
        self.clock.now += taken
        self.passes += 1
        if self.watts is not None:
            self.joules += taken * (self.watts[1] - self.watts[0])
        self.after_pass(self.passes)

    def open(self, threads: int | None) -> DeviceSession:
        assert all(session.closed for session in self.sessions), "one model is open at a time"
        self.clock.now += self.opening
        session = DeviceSession(self, threads)
        self.sessions.append(session)
        return session

    def subject(self, **changes: object) -> Subject:
        facts = {"weights": "toy", "runtime": "fake"}
        settings = {"usual": 4, "others": (2,), "prompts": lambda: [[1, 2, 3, 1, 2, 3, 1, 2]], **changes}
        return Subject("f" * 24, "toy", "fake", facts, {"edgetts": "0"}, self.open, **settings)  # type: ignore[arg-type]

    def instruments(self) -> Instruments:
        return Instruments(
            clock=self.clock,
            sleep=self.clock.sleep,
            resident=lambda: self.resident,
            available=lambda: 1 << 34,
            busy=lambda: self.busy.pop(0) if self.busy else 0.0,
            today=DAY,
            meter=self.meter,
            notify=self.said.append,
            progress=lambda stage, share: self.shown.append((stage, share)),
            cancel=self.cancel,
        )

    def meter(self) -> EnergyMeter | None:
        return None if self.watts is None else DeviceMeter(self, self.watts[0])


class DeviceMeter:
    """Counts idle watts all the time, and what work adds."""

    name = "toy"

    def __init__(self, device: Device, idle: float) -> None:
        self._device, self._idle = device, idle

    def _total(self) -> float:
        return self._device.joules + self._idle * self._device.elapsed

    def start(self) -> None:
        self._began = self._total()

    def read(self) -> Energy | None:
        joules = self._total() - self._began
        return Energy(joules, joules * 0.9, joules * 1.1, "toy", "measured")


class _Counting(ToyModel):
    """Says 1, 2, 3, 1, 2, 3 without end, and looks no further back than the last token."""

    def logits(self, prefix: Sequence[int]) -> Logits:
        return _ROWS[prefix[-1]]


_ROWS = np.array(
    [[0.0 if token == last % 3 + 1 else -50.0 for token in range(5)] for last in range(5)], np.float32
)


class DeviceSession(FakeSession):
    """A model on a device, that never ends a text."""

    def __init__(self, device: Device, threads: int | None) -> None:
        model = _Counting(5, lambda prefix: (), frozenset({4}))
        super().__init__(model, context=device.context, chunk=256, capabilities=device.capabilities)
        self._device, self._threads = device, threads
        self.closed = False

    @property
    def info(self) -> SessionInfo:
        return replace(super().info, bytes_per_token=self._device.bytes_per_token)

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        result = super().prefill(tokens, cancel)
        self._device.work(self._device.times.prefill(len(tokens)), self._threads)
        return result

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        past = sum(branch.length for branch in branches) / len(branches)
        logits = super().step(branches, tokens)
        self._device.work(self._device.times.at(len(branches), past), self._threads)
        return logits

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        past = branch.length
        logits = super().extend(branch, tokens)
        self._device.work(self._device.times.at(len(tokens), past), self._threads)
        return logits

    def close(self) -> None:
        if not self.closed:
            assert not self.live, "every branch is freed"
        self.closed = True
        super().close()
