"""Measure a model on one runtime, part by part, within a given time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgetts.decoding.session import Cancelled, Session
from edgetts.errors import EdgettsError
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.figure import Figure
from edgetts.profiles.measuring.growth import derived_growth, measure_growth, read_per_token
from edgetts.profiles.measuring.guessing import time_guessing
from edgetts.profiles.measuring.memory import measure_memory
from edgetts.profiles.measuring.opening import Opened, open_fastest
from edgetts.profiles.measuring.passes import BASE, WIDTHS, Curve, time_widths
from edgetts.profiles.measuring.plan import Part, Schedule
from edgetts.profiles.measuring.power import Reading, draw, why_not
from edgetts.profiles.measuring.prompts import time_prompts
from edgetts.profiles.measuring.steadiness import Settled, settle
from edgetts.profiles.measuring.subject import Instruments, Subject
from edgetts.profiles.measuring.sustained import LOAD_WIDTH, keep_busy
from edgetts.profiles.measuring.threads import Pace
from edgetts.profiles.measuring.timing import Deadline, SteadyClock
from edgetts.profiles.speed import Made, Scope, SpeedProfile

BUSY = 1.0
"""Cores that other programs may keep busy before figures are not the device's own."""
_LONGEST_PROMPT = {"quick": 512, "full": 2048}
# Branches may take so much of the memory that is left.
_SHARE = 4
# Reading what branches begin with may take so much of the time for passes; so many tokens are read even then.
_READING, _LEAST_PAST = 0.3, 8
_TITLES: dict[Part, str] = {
    "threads": "threads",
    "idle": "power while idle",
    "passes": "passes by width",
    "prompts": "prompts",
    "longer": "passes over long texts",
    "memory": "memory",
    "guessing": "guessing",
    "sustained": "a sustained load",
}


@dataclass(frozen=True, slots=True)
class Calibrated:
    """curve: the passes behind the profile's. missing: parts without a figure, and why. remarks: what is odd about
    the figures. seconds: that it all took.
    """

    profile: SpeedProfile
    curve: Curve
    missing: Mapping[str, str]
    remarks: tuple[str, ...]
    seconds: float


def calibrate(subject: Subject, scope: Scope, tools: Instruments, *, force: bool = False) -> Calibrated:
    """Measure what the scope has, "quick" or "full". One session is open at a time, and none at the end.

    Raises EdgettsError where other programs keep the processor busy, unless `force`, and what opening raises;
    Cancelled where `tools.cancel` is requested before the curve is complete. What a part after that cannot measure
    is missing.
    """
    busy = tools.busy()
    if busy >= BUSY and not force:
        raise EdgettsError(
            f"Other programs keep {busy:.0f} of this device's cores busy, so that what is measured would not be its own.",
            hint="Let them end first, or measure all the same with --force.",
        )
    return _Run(subject, scope, tools, busy).all()


class _Run:
    """One calibration, which fills in a profile part by part."""

    def __init__(self, subject: Subject, scope: Scope, tools: Instruments, busy: float) -> None:
        self._subject, self._scope, self._tools = subject, scope, tools
        self._clock = SteadyClock(tools.clock)
        self._schedule = Schedule(scope, self._clock, tools.cancel)
        self._stage = "opening"
        self._missing: dict[str, str] = {}
        self._remarks: list[str] = []
        self._doubts: list[str] = []
        self._quiet = busy < BUSY
        if not self._quiet:
            self._doubts.append(f"Other programs kept {busy:.0f} cores busy when it began.")

    def all(self) -> Calibrated:
        tools = self._tools
        opened = self._open()
        try:
            idle = self._idle()
            room = tools.available() // _SHARE
            settled = self._curve(opened, room)
            self._profile = self._begun(opened, settled)
            self._part("prompts", lambda until: self._prompts(opened.session, room, until))
            self._part("longer", lambda until: self._longer(opened.session, settled.curve, room, until))
            self._part("memory", lambda until: self._memory(opened, room, until))
            self._part("guessing", lambda until: self._guessing(opened, until))
            self._part("sustained", lambda until: self._sustained(opened.session, settled.curve, idle, until))
            if "sustained" in self._missing:
                self._missing.setdefault("power", self._missing["sustained"])
        finally:
            opened.session.close()
        if tools.cancel.requested:
            self._remarks.append("It was interrupted: only what was measured by then is in it.")
        elif (busy := tools.busy()) >= BUSY:
            self._doubts.append(f"Other programs kept {busy:.0f} cores busy when it ended.")
        if self._clock.leaps:
            self._remarks.append(
                "The clock leapt, as when a device sleeps; what was timed across that is left out."
            )
        made = replace(self._profile.made, doubt=" ".join(self._doubts))
        profile = replace(self._profile, made=made)
        remarks = (*self._doubts, *self._remarks)
        return Calibrated(profile, settled.curve, self._missing, remarks, self._clock())

    def _part(self, part: Part, measure: Callable[[Deadline], str]) -> None:
        """Measure a part of the profile; a sentence that it returns, or fails with, says why it is missing."""
        until = self._begin(part)
        if until is None:
            self._missing[part] = "left to a full calibration"
        elif until.cancelled():
            self._missing[part] = "interrupted"
        elif until.over and part != "memory":
            self._missing[part] = "no time left"
        else:
            try:
                why = measure(until)
            except EdgettsError as error:
                why = str(error)
            if why:
                self._missing[part] = "interrupted" if until.cancelled() else why

    def _begin(self, part: Part) -> Deadline | None:
        until = self._schedule.begin(part)
        if until is not None:
            self._stage = _TITLES[part]
            self._tick()
        return until

    def _tick(self) -> None:
        self._tools.progress(f"{self._subject.runtime}: {self._stage}", self._schedule.done)

    def _open(self) -> Opened:
        def first(pace: Pace) -> None:
            self._schedule.stretch(pace.round)
            self._tools.notify(
                f"Measuring {self._subject.model} on {self._subject.runtime} takes up to {self._schedule.seconds:.0f} s."
            )

        until = self._begin("threads")
        assert until is not None  # noqa: S101 - every scope has it
        subject = self._subject
        opened = open_fastest(
            subject.open,
            subject.others,
            subject.usual,
            self._clock,
            until,
            self._tools.resident,
            first,
            self._tick,
            choose=self._quiet,
        )
        if len(opened.paces) == 1:
            self._missing["threads"] = (
                "no time to open the model again"
                if subject.others
                else "only one number of them comes into question"
            )
        return opened

    def _idle(self) -> Figure | None:
        """Read the power while nothing runs: with the model loaded, as it is between answers."""
        until = self._begin("idle")
        if until is None or (meter := self._tools.meter()) is None:
            return None
        reading = Reading(meter, self._clock, self._tools.today)
        while (left := until.left) > 0:
            self._tools.sleep(min(0.25, left))
            self._tick()
        return reading.stop()

    def _curve(self, opened: Opened, room: int) -> Settled:
        session = opened.session
        until = self._begin("passes")
        assert until is not None  # noqa: S101 - every scope has it
        seconds = until.left
        # Reading what the branches begin with is about as fast as a wide pass.
        readable = int(_READING * seconds / opened.pace.each) if opened.pace.each else BASE
        past = max(1, min(BASE, session.info.context - 2, max(readable, _LEAST_PAST)))

        def measure() -> Curve:
            until = self._schedule.whole.within(seconds)
            return time_widths(session, past, WIDTHS, self._clock, until, room=room, tick=self._tick)

        settled = settle(measure, self._tools.notify)
        if not settled.curve.complete:
            raise Cancelled
        if settled.remark:
            self._remarks.append(settled.remark)
        if not session.capabilities.parallel and len(settled.curve.widths) > 1:
            self._remarks.append("Samples run one after the other: wider passes are those over a draft.")
        return settled

    def _begun(self, opened: Opened, settled: Settled) -> SpeedProfile:
        subject, curve = self._subject, settled.curve
        seconds = curve.seconds()
        times = StepTimes(
            widths=tuple(seconds),
            seconds=tuple(seconds.values()),
            # Until prompts are timed: reading one is a wide pass.
            prefill_rate=max(width / taken for width, taken in seconds.items()),
            source="measured",
            date=self._tools.today,
            opening=opened.seconds,
            past=curve.past,
            spread=settled.spread,
        )
        # Until long texts are timed.
        times = derived_growth(times, read_per_token(opened.session.info), subject.weights)
        paces = sorted((number, pace.plain) for number, pace in opened.paces.items() if pace.plain > 0)
        return SpeedProfile(
            subject.mark,
            subject.model,
            subject.runtime,
            subject.facts,
            Made(self._tools.today, self._scope, subject.versions),
            times,
            threads=tuple(paces) if len(paces) > 1 else (),
            run_threads=opened.threads,
        )

    def _prompts(self, session: Session, room: int, until: Deadline) -> str:
        found = time_prompts(
            session,
            self._clock,
            until,
            rate=self._profile.times.prefill_rate,
            room=room,
            longest=_LONGEST_PROMPT[self._scope],
            tick=self._tick,
        )
        times = replace(self._profile.times, exact_prompts=found.exact)
        if found.points:
            times = replace(times, prompts=found.points, prefill_rate=found.rate)
        self._profile = replace(self._profile, times=times)
        return "" if found.points else "no prompt could be timed"

    def _longer(self, session: Session, curve: Curve, room: int, until: Deadline) -> str:
        if session.info.whole_cache:
            return "a pass takes as long whatever its branch holds"
        growth = None
        seconds = until.left
        for _ in range(2):  # once more where the device changes its speed meanwhile
            growth = measure_growth(
                session,
                curve,
                self._profile.times,
                self._scope,
                self._clock,
                self._schedule.whole.within(seconds),
                room=room,
                tick=self._tick,
            )
            if growth is None or growth.steady:
                break
        if growth is None:
            return "no time, or no room, for longer texts"
        if not growth.steady:
            self._remarks.append(
                "The device changed its speed while long texts were timed, so what they add is rough."
            )
        self._profile = replace(self._profile, times=replace(self._profile.times, growth=growth.seconds))
        return ""

    def _memory(self, opened: Opened, room: int, until: Deadline) -> str:
        memory = measure_memory(
            opened.session, self._tools.resident, opened.grown, room, self._profile.times, until
        )
        self._profile = replace(self._profile, memory=memory)
        return ""

    def _guessing(self, opened: Opened, until: Deadline) -> str:
        subject = self._subject
        able = opened.session.capabilities
        if not (able.extend and able.truncate):
            return f"{subject.runtime} cannot verify guesses for this model"
        found = time_guessing(
            opened.session,
            subject.guessers(opened.threads or None),
            subject.prompts(),
            self._profile.times,
            self._clock,
            until,
            self._tick,
        )
        self._profile = replace(self._profile, guessing=found)
        return "" if found else "no time, or no text, to guess on"

    def _sustained(self, session: Session, curve: Curve, idle: Figure | None, until: Deadline) -> str:
        width = max(width for width in curve.widths if width <= LOAD_WIDTH)
        meter = self._tools.meter()
        reading = Reading(meter, self._clock, self._tools.today)
        found = keep_busy(session, curve.past, width, curve.seconds()[width], self._clock, until, self._tick)
        busy = reading.stop()
        power = draw(idle, busy)
        if power is None:
            self._missing["power"] = why_not(meter is not None, idle, busy)
        self._profile = replace(self._profile, sustained=found, power=power)
        return "" if found is not None else "too few passes to tell"
