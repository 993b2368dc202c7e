"""Charge answers for what a counter counts while they are under way.

Answers under way at the same time share what is counted evenly, whatever each of them computes: sessions run all
branches on one pool of threads, so that neither a package's counter nor the process's time can be told apart. A
process that answers two questions at once thus charges each for half, and nothing twice.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakSet

from edgetts.energy.counter import CannotTell, Count, Counter
from edgetts.energy.meter import Energy


@dataclass(slots=True)
class Account:
    """What one answer was charged of one counter.

    weight: its share now. turns: how much that changed in all; every change is an edge of a stretch. shared: whether it
    was ever less than all. trouble: why the counter cannot tell of this answer, if so.
    """

    joules: float = 0.0
    low: float = 0.0
    high: float = 0.0
    edge: float = 0.0
    weight: float = 0.0
    turns: float = 0.0
    shared: bool = False
    trouble: str = ""

    def charge(self, before: Count, now: Count, weight: float) -> None:
        self.joules += (now.joules - before.joules) * weight
        self.low += (now.low - before.low) * weight
        self.high += (now.high - before.high) * weight
        self.edge = max(self.edge, before.edge, now.edge)
        self.turns += abs(weight - self.weight)
        self.weight = weight
        self.shared = self.shared or weight < 1

    @property
    def bounds(self) -> tuple[float, float, float]:
        edges = (self.turns + self.weight) * self.edge
        return max(min(self.low, self.joules) - edges, 0.0), self.joules, max(self.high, self.joules) + edges


class Ledger:
    """One counter, and what it stood at when it was last looked at."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.trouble = "it was never read"
        self._last: Count | None = None

    def advance(self) -> tuple[Count, Count] | None:
        """Read the counter; return what it said before and says now, None where that means nothing."""
        before, self._last = self._last, None
        try:
            now = self.counter.read()
            if not all(math.isfinite(x) for x in (now.joules, now.low, now.high, now.edge)):
                raise CannotTell("it counts what is no number")
            if before is not None and (
                now.joules < before.joules or now.low < before.low or now.high < before.high
            ):
                raise CannotTell("it went back")
        except CannotTell as why:
            self.trouble = str(why)
            return None
        except OSError as error:
            self.trouble = f"it cannot be read any more: {error.strerror or error}"
            return None
        self._last = now
        return (before or now), now


class UnderWay:
    """The answers under way. One for a process, since all of its engines use one device. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._meters: WeakSet[AnswerMeter] = WeakSet()

    def enter(self, meter: AnswerMeter) -> None:
        with self._lock:
            self._meters.discard(meter)
            counted = self.settle()
            meter.accounts = {ledger: Account() for ledger in meter.ledgers}
            for ledger, account in meter.accounts.items():
                known = counted[ledger] if ledger in counted else ledger.advance() is not None
                account.trouble = "" if known else ledger.trouble
            self._meters.add(meter)

    def settle(self) -> dict[Ledger, bool]:
        """Charge every answer under way up to now; return the counters that were read, and whether they could tell."""
        with self._lock:
            meters = list(self._meters)
            # Every ledger once, in an order that does not depend on addresses.
            counted = {ledger: False for meter in meters for ledger in meter.accounts}
            for ledger in counted:
                stretch = ledger.advance()
                counted[ledger] = stretch is not None
                for meter in meters:
                    account = meter.accounts.get(ledger)
                    if account is None:
                        continue
                    if stretch is None:
                        account.trouble = account.trouble or ledger.trouble
                    elif not account.trouble:
                        account.charge(*stretch, 1 / len(meters))
            return counted


class AnswerMeter:
    """Count one answer by the first of `ledgers` whose counter can tell of the whole of it."""

    def __init__(self, ledgers: Sequence[Ledger], under_way: UnderWay) -> None:
        self.ledgers = tuple(ledgers)
        self.accounts: dict[Ledger, Account] = {}
        self._under_way = under_way
        self._least = (0.0, 0.0, 0.0)

    @property
    def name(self) -> str:
        return self.ledgers[0].counter.name if self.ledgers else "none"

    def start(self) -> None:
        self._least = (0.0, 0.0, 0.0)
        self._under_way.enter(self)

    def read(self) -> Energy | None:
        if not self.accounts:
            return None
        self._under_way.settle()
        failed = []
        for ledger, account in self.accounts.items():
            counter = ledger.counter
            if account.trouble:
                failed.append(f"{counter.name}: {account.trouble}")
                continue
            # What was spent is never less than it was, though an edge or another counter may say so.
            low, joules, high = map(max, self._least, account.bounds)
            self._least = low, joules, high
            source = counter.source + (f" (not by {'; nor by '.join(failed)})" if failed else "")
            return Energy(joules, low, high, source, counter.provenance, account.shared)
        return None
