"""What is calibrated, and what with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgetts.decoding.guessers import Guessers
from edgetts.decoding.session import Cancellation, Session
from edgetts.energy.meter import MeterFactory


@dataclass(frozen=True, slots=True)
class Subject:
    """A model as one runtime opens it. facts and mark: what its profile holds for.

    open: opens a session, with a number of threads; None is the runtime's own choice, `usual` of them. others:
    numbers worth a try, the most telling first; none where the user named one. guessers: those of the model, for so
    many threads. prompts: token ids to guess on, made when they are needed. weights: bytes that a pass reads, 0 where
    nobody knows.
    """

    mark: str
    model: str
    runtime: str
    facts: Mapping[str, str]
    versions: Mapping[str, str]
    open: Callable[[int | None], Session]
    usual: int
    others: tuple[int, ...] = ()
    guessers: Callable[[int | None], Guessers | None] = lambda threads: None
    prompts: Callable[[], Sequence[Sequence[int]]] = tuple
    weights: float = 0.0


@dataclass(frozen=True, slots=True)
class Instruments:
    """What is measured with. clock: monotonic, in seconds. resident, available: bytes of this process, and of memory left.

    busy: cores that other programs keep busy. meter: makes energy meters, where there are any. today: ISO day. notify gets
    sentences for a person; progress a stage and the share of the whole that is done.
    """

    clock: Callable[[], float]
    sleep: Callable[[float], None]
    resident: Callable[[], int]
    available: Callable[[], int]
    busy: Callable[[], float]
    today: str
    meter: MeterFactory = lambda: None
    notify: Callable[[str], None] = lambda sentence: None
    progress: Callable[[str, float], None] = lambda stage, fraction: None
    cancel: Cancellation = field(default_factory=Cancellation)
