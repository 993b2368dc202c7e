"""A runtime that has an engine's model: its session, opened when it is first needed, and how fast it is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence

from edgetts.control.cost.drift import Drift
from edgetts.decoding.guessers import Guessers
from edgetts.decoding.lone import LoneDecoding
from edgetts.decoding.session import Session
from edgetts.decoding.speculation import UNKNOWN_RATE, DraftModel, ModelDrafter, NgramDrafter
from edgetts.errors import InvalidInput
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.speed import SpeedProfile
from edgetts.scheduling.scheduler import Scheduler
from edgetts.scheduling.sharing import Sharing, Traffic
from edgetts.types import DecodeParams


class Host:
    """Calls may come from any thread. `opener` makes the session when `session` is first asked for."""

    def __init__(
        self,
        runtime: str,
        times: StepTimes,
        clock: Callable[[], float],
        *,
        opener: Callable[[], Session],
        guessers: Guessers | None = None,
        draft_model: DraftModel | None = None,
        speed: SpeedProfile | None = None,
    ) -> None:
        self.sharing = Sharing(memory=lambda: sys.maxsize)
        """How its session is shared; to be said before `scheduler` is first asked for."""
        self.runtime = runtime
        self.times = times
        self.speed = speed
        """What else was measured of the model on this runtime; None where nothing was."""
        self.drift = Drift(times.spread, clock)
        """How answers so far compare with the curve; what was measured stays as it is."""
        self._clock = clock
        self._opener = opener
        self._guessers = guessers
        self._draft_model = draft_model
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._scheduler: Scheduler | None = None
        # What speculation learns of the model and the device outlives an answer.
        self._lone: LoneDecoding | None = None

    @property
    def opening(self) -> float:
        """Seconds until it can begin; 0 once it is open."""
        return 0.0 if self._session is not None else self.times.opening

    @property
    def session(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = self._opener()
            return self._session

    @property
    def scheduler(self) -> Scheduler:
        """Who gives seats at the session."""
        session = self.session
        with self._lock:
            if self._scheduler is None:
                self._scheduler = Scheduler(session, self.sharing)
            return self._scheduler

    @property
    def traffic(self) -> Traffic | None:
        """What goes on at the session; None where nobody ever had a seat."""
        return None if self._scheduler is None else self._scheduler.traffic

    def known(self, tokens: Sequence[int]) -> int:
        """Return how many first tokens of a prompt need not be read, as far as is known now."""
        return 0 if self._scheduler is None else self._scheduler.passes.known(tokens)

    @property
    def lone(self) -> LoneDecoding:
        session = self.session
        with self._lock:
            if self._lone is None:
                self._lone = LoneDecoding(
                    session, self._guessers, self.times.at, self._clock, self._draft_model
                )
            return self._lone

    @property
    def guess_rate(self) -> float:
        """How often guesses at a lone sample's tokens are right, as far as is known."""
        return UNKNOWN_RATE if self._lone is None else self._lone.guess_rate

    def can(self, decode: DecodeParams) -> bool:
        """Whether it has the guessers that are asked for by name."""
        if decode.early_exit is not None:
            return self._guessers is not None
        kinds = frozenset() if self._guessers is None else self._guessers.kinds
        model = set() if self._draft_model is None else {ModelDrafter.name}
        return set(decode.drafters or ()) <= {NgramDrafter.name, *kinds, *model}

    def close(self) -> None:
        """Release the model. Closing twice does nothing."""
        with self._lock:
            # Guessers map the weights too.
            self._guessers = self._draft_model = None
            self._opener = _closed
            if self._lone is not None:
                self._lone.close()
            if self._scheduler is not None:
                self._scheduler.close()
            if self._session is not None:
                self._session.close()


def _closed() -> Session:
    raise InvalidInput("The engine is closed.", hint="Load the model again.")
