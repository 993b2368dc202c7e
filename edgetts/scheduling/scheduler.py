"""Run the passes of all seats at one session: one thread, a turn at a time.

Steps of all seats share a pass (continuous batching); a prompt is read in chunks between them. Before a pass its
scheduler waits a moment for the seats that the last one served, which are drawing their next tokens. The background gets
turns only while nobody in the foreground has work or is about to have some. Sources: "Orca: A Distributed Serving System
for Transformer-Based Generative Models"; "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve".
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from edgetts.decoding.session import Cancellation, Cancelled, Session
from edgetts.errors import InvalidInput
from edgetts.scheduling.admission import Admission
from edgetts.scheduling.passes import Passes
from edgetts.scheduling.prefixes import Held
from edgetts.scheduling.seat import Seat
from edgetts.scheduling.sharing import Sharing, Traffic
from edgetts.scheduling.work import Lone, Reading, Step, Work

# Rows of one pass: more wait for the next.
_MOST_ROWS = 64
# Tokens of a prompt in one pass: while nobody else waits, and while somebody does or may come.
_CHUNK, _SHORT_CHUNK = 256, 32
# Seconds that a pass waits for seats that draw: as long as the last one took, within these.
_LEAST_PATIENCE, _MOST_PATIENCE = 0.004, 0.1


class Scheduler:
    """Give seats at a session, and run what they ask for. Safe from any thread.

    chunk, short_chunk: tokens of a prompt in one pass, while nobody else waits and while somebody does or may come.
    """

    def __init__(
        self,
        session: Session,
        sharing: Sharing,
        *,
        chunk: int = _CHUNK,
        short_chunk: int = _SHORT_CHUNK,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._session = session
        self._seats: set[Seat] = set()
        self.passes = Passes(session, sharing.kept_bytes, lambda: tuple(self._seats))
        self._admission = Admission(
            sharing.memory, most=sharing.most, most_waiting=sharing.most_waiting, make_room=self.passes.shrink
        )
        self._chunk, self._short_chunk = chunk, short_chunk
        self._clock = clock
        # Entered itself: an interrupt within a condition's own `__enter__` would leave it locked for ever.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: list[Work] = []
        """In the order in which it is to be run, the ranks apart."""
        self._expected: set[Seat] = set()
        self._patient_until = 0.0
        self._last = "read"
        self._running: Sequence[Work] = ()
        """What the thread of passes is at."""
        self._lent: Work | None = None
        """What its own thread runs meanwhile, as nobody else is there."""
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._closed = False

    @property
    def keeps(self) -> bool:
        """Whether anything is kept for questions that begin alike."""
        return self.passes.prefixes.limit > 0

    @property
    def traffic(self) -> Traffic:
        # Without a lock, of copies: who looks, perhaps an event loop, does not wait for a pass that somebody waits for.
        seats, passes = tuple(self._seats), self.passes
        ahead = sum(seat.foreground for seat in seats)
        return Traffic(
            foreground=ahead,
            background=len(seats) - ahead,
            waiting=self._admission.waiting,
            branches=sum(len(seat.held) for seat in seats),
            kept_branches=len(passes.prefixes.held),
            kept_bytes=passes.prefixes.nbytes,
            passes=passes.passes,
            rows=passes.rows,
            widest=passes.widest,
            read=passes.read,
            cached=passes.cached,
        )

    def crowded(self, seat: Seat) -> bool:
        """Whether others of a seat's rank, or ahead of it, are under way."""
        return any(other is not seat and other.foreground >= seat.foreground for other in tuple(self._seats))

    @contextmanager
    def seat(
        self, nbytes: int = 0, *, foreground: bool = True, cancel: Cancellation | None = None
    ) -> Iterator[Seat]:
        """Wait for room for `nbytes` of branches, then give a seat. Raises what `Admission.entered` does."""
        if os.getpid() != self._process:
            raise InvalidInput(
                "The model was loaded before this process was forked, and cannot be used here.",
                hint="Load it in the process that uses it, or start processes by spawning.",
            )
        with (
            self._admission.entered(nbytes, foreground=foreground, cancel=cancel),
            Seat(self, self._session, foreground=foreground) as seat,
        ):
            with self._lock:
                if self._closed:
                    raise _closed()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name="edgetts-passes", daemon=True)
                    self._thread.start()
                self._seats.add(seat)
                if len(self._seats) > 1:
                    for one in self._seats:
                        one.shared = True
            yield seat

    def leave(self, seat: Seat, spare: Held | None) -> None:
        """Take a seat back, and with it its branches; the longest, or `spare`, may be kept."""
        with self._lock:
            self._seats.discard(seat)
            self._expected.discard(seat)
            self._changed.notify_all()
            closed = self._closed
        with self.passes.branches:
            held, seat.held = [*seat.held.values(), *([] if spare is None else [spare])], {}
            if closed:
                return
            held.sort(key=lambda one: (not one.branch.pending, len(one.tokens)))
            if held and self.keeps:
                self.passes.prefixes.put(held.pop())
            for one in held:
                self._session.free(one.branch)

    def run(self, work: Work, cancel: Cancellation | None = None) -> None:
        """Have a seat's work done; return when it is. Raises what went wrong, and Cancelled."""

        def withdraw() -> None:
            with self._lock:
                if self._take_back(work):
                    work.finish(Cancelled())

        listening = False
        try:
            with self._lock:
                self._come(work)
            if cancel is not None:
                listening = True
                cancel.register(withdraw)
            while self._lent is work:
                self._run([work], self._chunk)
                with self._lock:
                    self._lent = None
                    if (work.finished or not self._lend(work)) and (self._waiting or self._closed):
                        self._changed.notify_all()
            work.wait()
        except BaseException:
            # The waiting thread was interrupted: what is under way ends before anybody frees its branches.
            with self._lock:
                if self._lent is work:
                    self._lent = None
                work.abandoned = True
                waits = not self._take_back(work) and work in self._running
                self._changed.notify_all()
            if waits:
                work.wait()
            self._give_up(work)
            raise
        finally:
            if cancel is not None and listening:
                cancel.unregister(withdraw)
        if work.error is not None:
            self._give_up(work)
            raise work.error

    def close(self) -> None:
        """Send everybody away; what waits fails with InvalidInput. The session is the caller's to close."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
            while self._busy:
                self._changed.wait()
        self._admission.close()
        if thread is not None and thread is not threading.current_thread() and os.getpid() == self._process:
            thread.join()
        with self.passes.branches:
            self.passes.prefixes.forget()

    @property
    def _busy(self) -> bool:
        """Whether a turn is being run."""
        return bool(self._running) or self._lent is not None

    def _come(self, work: Work) -> None:
        """Put work into line, or lend its thread the session. Called under the lock."""
        if self._closed:
            raise _closed()
        seat = work.seat
        if seat not in self._seats:
            raise InvalidInput("The place at the session was given up.", hint="Take another.")
        self._expected.discard(seat)
        if seat.served:
            seat.thinks += 0.5 * (self._clock() - seat.served - seat.thinks)
        self._waiting.append(work)
        # Nobody to share with: the caller's own thread runs it, which saves two changes of threads a token.
        if not self._lend(work):
            self._changed.notify_all()

    def _lend(self, work: Work) -> bool:
        """Let the calling thread run the only work there is, of the only seat. Called under the lock."""
        alone = not self._busy and not self._closed and len(self._seats) == 1 and self._waiting == [work]
        if alone:
            self._lent = work
            self._waiting.clear()
        return alone

    # The thread of passes

    def _serve(self) -> None:
        while True:
            with self._lock:
                turn = None
                while not self._closed and (turn := self._turn()) is None:
                    left = self._patient_until - self._clock() if self._expected else None
                    self._changed.wait(None if left is None else max(0.0, left))
                if turn is None:
                    waiting, self._waiting = self._waiting, []
                    for work in waiting:
                        work.finish(_closed())
                    return
            turn()
            with self._lock:
                self._running = ()
                if self._closed:
                    self._changed.notify_all()

    def _turn(self) -> Callable[[], None] | None:
        """Return what to do next; None where there is nothing to do but wait. Called under the lock."""
        if self._busy:
            return None
        if self._expected and self._clock() >= self._patient_until:
            self._expected.clear()
        rank = any(work.seat.foreground for work in self._waiting) or any(
            seat.foreground for seat in self._expected
        )
        waiting = [work for work in self._waiting if work.seat.foreground == rank]
        coming = any(seat.foreground == rank for seat in self._expected)
        # Who runs passes of their own shares no step: nobody waits with one for them.
        missing = any(seat.foreground == rank and seat.steps for seat in self._expected)
        # Whoever had the last turn comes last.
        order = ["lone", "step", "read"]
        while order[-1] != self._last:
            order.append(order.pop(0))
        for kind in order:
            # While seats draw, one chunk of a prompt is read, but no second one before they had their turn.
            if (missing and kind == "step") or (coming and kind == self._last == "read"):
                continue
            chosen = _first(waiting, kind)
            if chosen:
                self._last, self._running = kind, chosen
                self._waiting = [work for work in self._waiting if work not in chosen]
                decoding = coming or any(not isinstance(work, Reading) for work in waiting)
                short = decoding or not rank
                return lambda: self._run(chosen, self._short_chunk if short else self._chunk)
        return None

    def _run(self, works: Sequence[Work], chunk: int) -> None:
        """Run works that make up one turn. Whatever goes wrong, nobody waits for ever."""
        began = self._clock()
        try:
            served = self.passes.run(works, chunk)
            self._serve_back([work for work in served if not self._goes_on(work)], self._clock() - began)
        except BaseException as error:
            with self._lock:
                for work in works:
                    if work not in self._waiting:
                        self.passes.fail(work, error)
            if not isinstance(error, Exception):
                # An interrupt of the thread that was lent the session: even where its work was done already.
                raise

    def _goes_on(self, work: Work) -> bool:
        """Whether more of a prompt is left to be read; then it is put back into line."""
        if not isinstance(work, Reading) or work.read >= len(work.tokens):
            return False
        with self._lock:
            if work.abandoned:
                work.finish(Cancelled())
            else:
                # Where its cancellation was requested meanwhile, the next chunk says so.
                self._waiting.insert(0, work)
        return True

    def _serve_back(self, works: Sequence[Work], seconds: float) -> None:
        """Give seats what they waited for, and expect them back as long as a pass took."""
        if not works:
            return
        now = self._clock()
        patience = min(max(seconds, _LEAST_PATIENCE), _MOST_PATIENCE)
        with self._lock:
            self._patient_until = now + patience
            for work in works:
                work.seat.served = now
                work.seat.steps = not isinstance(work, Lone)
                if work.seat in self._seats and work.seat.thinks <= patience:
                    self._expected.add(work.seat)
        for work in works:
            work.finish()

    def _give_up(self, work: Work) -> None:
        """Free the branch of a prompt that is not read to its end. In the thread that waited: it may wait for a pass."""
        if isinstance(work, Reading) and work.owned and work.branch is not None:
            with self.passes.branches:
                if work.seat.held.pop(id(work.branch), None) is not None and not self._closed:
                    self._session.free(work.branch)

    def _take_back(self, work: Work) -> bool:
        """Take work out of line; False where it is under way or finished. Called under the lock."""
        if work not in self._waiting:
            return False
        self._waiting.remove(work)
        return True


def _first(waiting: Sequence[Work], kind: str) -> Sequence[Work]:
    """Return what has the next turn of a kind: one, or as many steps as share a pass."""
    if kind != "step":
        wanted = Lone if kind == "lone" else Reading
        return [work for work in waiting if isinstance(work, wanted)][:1]
    chosen: list[Work] = []
    rows = 0
    for work in waiting:
        if isinstance(work, Step):
            rows += len(work.branches)
            if chosen and rows > _MOST_ROWS:
                break
            chosen.append(work)
    return chosen


def _closed() -> InvalidInput:
    return InvalidInput("The engine is closed.", hint="Load the model again.")
