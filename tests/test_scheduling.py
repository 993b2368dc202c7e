"""Seats at one session: the contract holds for each, passes are shared, and nobody waits for whom they need not."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import TinyBundle

from edgetts.decoding.parallel import ParallelDecoder
from edgetts.decoding.session import Branch, Cancellation, Cancelled, Capabilities, Logits, Session
from edgetts.errors import Busy, InvalidInput, OutOfMemory, PromptTooLong
from edgetts.runtimes.onnx import OnnxSession
from edgetts.scheduling.prefixes import common
from edgetts.scheduling.scheduler import Scheduler
from edgetts.scheduling.seat import Seat
from edgetts.scheduling.sharing import Sharing
from edgetts.testing import FakeSession, ToyModel
from edgetts.testing.contract import SessionContract
from edgetts.types import SamplingParams

PLENTY = 1 << 40
PATIENCE = 30
"""Seconds after which a test that waits has failed."""


class Seated:
    """One seat, as a session of its own."""

    def __init__(self, session: Session, sharing: Sharing | None = None) -> None:
        self.session = session
        self.scheduler = Scheduler(session, sharing or Sharing(lambda: PLENTY), chunk=16, short_chunk=4)
        self._place = self.scheduler.seat()
        self._seat = self._place.__enter__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seat, name)

    def close(self) -> None:
        self.scheduler.close()
        self._place.__exit__(None, None, None)
        self.session.close()


class SeatContract(SessionContract):
    sharing = Sharing(lambda: PLENTY)

    def tokens_run(self, session: Session) -> int:
        assert isinstance(session, Seated)
        assert isinstance(session.session, FakeSession)
        return session.session.run


class TestSeat(SeatContract):
    def open_session(self) -> Session:
        return Seated(FakeSession(ToyModel.random(11), context=48, chunk=5))  # type: ignore[return-value]


class TestSeatWithExits(SeatContract):
    def open_session(self) -> Session:
        able = Capabilities(exits=(2, 5), tolerance=0.0)
        return Seated(FakeSession(ToyModel.random(11), context=48, capabilities=able))  # type: ignore[return-value]


class TestSeatThatCanLittle(SeatContract):
    def open_session(self) -> Session:
        little = Capabilities(fork=False, extend=False, truncate=False, parallel=False, tolerance=0.0)
        return Seated(FakeSession(ToyModel.random(11), context=48, capabilities=little))  # type: ignore[return-value]


class TestSeatAtOnnx(SeatContract):
    tolerance = 1e-3

    @pytest.fixture(autouse=True)
    def _model(self, tiny_bundle: TinyBundle) -> None:
        self.bundle = tiny_bundle("llama", context=48).bundle

    def open_session(self) -> Session:
        return Seated(OnnxSession.open(self.bundle, threads=1))  # type: ignore[return-value]

    def tokens_run(self, session: Session) -> int:
        pytest.skip("counted on the fake")


class Watched(FakeSession):
    """Notes every pass, and can be held up in one."""

    def __init__(self, model: ToyModel, **options: Any) -> None:
        super().__init__(model, **options)
        self.log: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        self._arrive(f"read {tokens[0]}")
        return super().prefill(tokens, cancel)

    def read(self, branch: Branch, tokens: Sequence[int], cancel: Cancellation | None = None) -> Logits:
        self._arrive(f"read {branch.tokens[0]}")  # type: ignore[attr-defined]
        return super().read(branch, tokens, cancel)

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        self._arrive("step " + " ".join(sorted(str(b.tokens[0]) for b in branches)))  # type: ignore[attr-defined]
        return super().step(branches, tokens)

    def _arrive(self, what: str) -> None:
        self.log.append(what)
        self.entered.set()
        assert self.gate.wait(PATIENCE)


VOCABULARY = 12


def toy(**options: Any) -> Watched:
    return Watched(ToyModel.random(VOCABULARY, seed=3), **{"context": 4000, "chunk": 4000} | options)


@contextmanager
def shared(session: Session, **sharing: Any) -> Iterator[Scheduler]:
    made = Sharing(**{"memory": lambda: PLENTY} | sharing)
    scheduler = Scheduler(session, made, chunk=16, short_chunk=4)
    yield scheduler
    scheduler.close()
    session.close()


def decode(seat: Session, prompt: Sequence[int], count: int, seed: int = 0) -> tuple[int, ...]:
    branch, logits = seat.prefill(prompt)
    params = SamplingParams(temperature=1.0, seed=seed)
    decoder = ParallelDecoder(seat, branch, logits, params, max_tokens=count, greedy_first=False)
    decoder.start(1, last=True)
    while decoder.active:
        decoder.step()
    tokens = tuple(decoder.traces[0].tokens)
    decoder.close()
    return tokens


def together(*works: Callable[[], Any]) -> list[Any]:
    """Run works in a thread each; return what each returned, or raised."""
    results: list[Any] = [None] * len(works)

    def run(i: int) -> None:
        try:
            results[i] = works[i]()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return results


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def prompt_of(first: int, length: int = 6) -> list[int]:
    return [first, *(1 + (first * 7 + i * i) % (VOCABULARY - 1) for i in range(length - 1))]


# Sharing


def test_everybody_gets_what_they_would_get_alone_and_passes_are_shared() -> None:
    prompts = [prompt_of(i, 5 + i) for i in range(8)]
    alone = [decode(toy(), prompt, 30, seed=i) for i, prompt in enumerate(prompts)]
    session = toy()
    with shared(session) as scheduler:
        ready = threading.Barrier(8)

        def ask(i: int) -> tuple[int, ...]:
            with scheduler.seat() as seat:
                ready.wait(PATIENCE)
                return decode(seat, prompts[i], 30, seed=i)

        assert together(*(lambda i=i: ask(i) for i in range(8))) == alone
        assert max(session.widths) > 1, "steps of several shared a pass"
        assert scheduler.traffic.widest == max(session.widths)
        assert session.live == []
        assert scheduler.traffic.branches == 0


def test_a_long_prompt_is_read_between_the_steps_of_others() -> None:
    session = toy()
    with shared(session) as scheduler, scheduler.seat() as talker, scheduler.seat() as reader:
        branch, _ = talker.prefill(prompt_of(1))
        stop = threading.Event()

        def talk() -> None:
            while not stop.is_set():
                talker.step([branch], [2])

        def read() -> None:
            until(lambda: session.log.count("step 1") > 3)
            session.log.clear()
            reader.prefill(prompt_of(5, 80))
            stop.set()

        together(talk, read)
        first, last = session.log.index("read 5"), len(session.log) - 1 - session.log[::-1].index("read 5")
        between = session.log[first:last]
        assert between.count("step 1") >= between.count("read 5") - 1
        assert between.count("read 5") >= 10, "in short chunks, as somebody else decodes"


def test_a_prompt_alone_is_read_in_long_even_chunks() -> None:
    session = toy()
    with shared(session) as scheduler, scheduler.seat() as seat:
        seat.prefill(prompt_of(5, 40))
        assert session.log == ["read 5"] * 3


def test_the_background_waits_for_the_foreground() -> None:
    session = toy()
    with (
        shared(session) as scheduler,
        scheduler.seat(foreground=False) as behind,
        scheduler.seat() as ahead,
    ):
        stop = threading.Event()

        def background() -> int:
            branch, _ = behind.prefill(prompt_of(1))
            steps = 0
            while not stop.is_set():
                behind.step([branch], [2])
                steps += 1
            return steps

        def foreground() -> list[str]:
            until(lambda: session.log.count("step 1") > 3)
            branch, _ = ahead.prefill(prompt_of(4, 30))
            session.log.clear()
            for _ in range(50):
                ahead.step([branch], [3])
            seen = list(session.log)
            until(lambda: session.log.count("step 1") > 3)
            stop.set()
            return seen

        _, seen = together(background, foreground)
        # A step of the background may be under way, or come in where the foreground tarried: no more than a few.
        assert seen.count("step 4") == 50
        assert seen.count("step 1") <= 10
        assert "step 1 4" not in seen, "what is behind slows no pass of what is ahead"


def test_a_failure_is_the_own_of_who_caused_it() -> None:
    session = toy(context=40)
    with shared(session) as scheduler, scheduler.seat() as good, scheduler.seat() as bad:
        full, _ = bad.prefill(prompt_of(2, 40))
        branch, _ = good.prefill(prompt_of(1))
        session.gate.clear()
        session.entered.clear()
        with scheduler.seat() as third:
            other = threading.Thread(target=lambda: third.prefill(prompt_of(7)))
            other.start()
            assert session.entered.wait(PATIENCE)  # both steps come while a pass is under way

            def release() -> None:
                until(lambda: len(scheduler._waiting) == 2)
                session.gate.set()

            ok, failed, _ = together(
                lambda: good.step([branch], [2]).copy(), lambda: bad.step([full], [2]), release
            )
            other.join(PATIENCE)
        assert isinstance(failed, PromptTooLong)
        assert np.array_equal(ok[0], session.model.logits([*prompt_of(1), 2]))


def test_a_lone_samples_guesses_give_way_where_others_share() -> None:
    with shared(toy()) as scheduler, scheduler.seat() as one:
        assert not one.crowded
        with scheduler.seat(foreground=False) as behind:
            assert not one.crowded, "who is behind waits anyway"
            assert behind.crowded
            with scheduler.seat():
                assert one.crowded
        assert one.shared


# Prefixes


def test_what_was_read_before_is_not_read_again() -> None:
    session = toy()
    with shared(session, kept_bytes=100_000) as scheduler:
        prompt = prompt_of(3, 60)
        with scheduler.seat() as seat:
            answer = decode(seat, prompt, 20, seed=1)
            assert seat.cached == 0
        read = session.prefilled
        longer = [*prompt, *answer, 5, 6, 7]
        with scheduler.seat() as seat:
            _, logits = seat.prefill(longer)
            # The last drawn token never went through the network.
            assert seat.cached == len(prompt) + len(answer) - 1
            assert np.array_equal(logits, session.model.logits(longer))
        assert session.prefilled - read == 4
        other = [*prompt[:40], 9, 9, 9]
        with scheduler.seat() as seat:
            _, logits = seat.prefill(other)
            assert seat.cached == 40
            assert np.array_equal(logits, session.model.logits(other))
        with scheduler.seat() as seat:
            seat.prefill(prompt_of(8, 60))
            assert seat.cached == 0
        assert scheduler.traffic.cached == len(prompt) + len(answer) - 1 + 40


def test_a_prompt_that_is_known_whole_is_still_asked_for_its_last_token() -> None:
    session = toy()
    with shared(session, kept_bytes=100_000) as scheduler:
        for cached in (0, 59):
            with scheduler.seat() as seat:
                _, logits = seat.prefill(prompt_of(3, 60))
                assert seat.cached == cached
                assert np.array_equal(logits, session.model.logits(prompt_of(3, 60)))


def test_questions_under_way_lend_each_other_what_they_read() -> None:
    session = toy()
    with shared(session, kept_bytes=100_000) as scheduler, scheduler.seat() as one, scheduler.seat() as two:
        branch, _ = one.prefill(prompt_of(3, 60))
        copy, _ = two.prefill([*prompt_of(3, 60), 4])
        assert two.cached == 60
        lent = one.step([branch], [5]).copy()
        assert np.array_equal(lent[0], session.model.logits([*prompt_of(3, 60), 5]))
        assert np.array_equal(two.step([copy], [1])[0], session.model.logits([*prompt_of(3, 60), 4, 1]))


def test_only_so_much_is_kept_and_the_oldest_goes_first() -> None:
    session = toy()
    each = 50 * session.info.bytes_per_token
    with shared(session, kept_bytes=2 * each) as scheduler:
        for first in (1, 2, 3):
            with scheduler.seat() as seat:
                seat.prefill(prompt_of(first, 50))
            assert scheduler.traffic.kept_bytes <= 2 * each
        assert [scheduler.passes.known([*prompt_of(first, 50), 1]) for first in (1, 2, 3)] == [0, 50, 50]
        assert len(session.live) == 2


def test_where_nothing_is_kept_nothing_is_held() -> None:
    session = toy()
    with shared(session) as scheduler:
        for _ in range(2):
            with scheduler.seat() as seat:
                seat.prefill(prompt_of(1, 50))
                assert seat.cached == 0
            assert session.live == []


def test_a_session_that_cannot_cut_reuses_whole_branches_only() -> None:
    session = toy(capabilities=Capabilities(truncate=False, tolerance=0.0))
    with shared(session, kept_bytes=100_000) as scheduler:
        with scheduler.seat() as seat:
            seat.prefill(prompt_of(3, 60))
        with scheduler.seat() as seat:
            seat.prefill([*prompt_of(3, 60)[:50], 1])
            assert seat.cached == 0
        with scheduler.seat() as seat:
            seat.prefill([*prompt_of(3, 60), 1])
            assert seat.cached == 60


def test_common_beginnings() -> None:
    assert common([], [1]) == 0
    assert common([1, 2, 3], [1, 2, 4]) == 2
    assert common([1, 2], [1, 2, 3]) == 2
    assert common([2], [1]) == 0


# Admission


def test_who_does_not_fit_waits_and_the_line_has_an_end() -> None:
    session = toy()
    with shared(session, memory=lambda: 100, most_waiting=1) as scheduler:
        order: list[str] = []
        inside = threading.Event()
        leave = threading.Event()

        def first() -> None:
            with scheduler.seat(60):
                inside.set()
                assert leave.wait(PATIENCE)
                order.append("first")

        def second() -> None:
            assert inside.wait(PATIENCE)
            with scheduler.seat(60):
                order.append("second")

        def third() -> Any:
            until(lambda: scheduler.traffic.waiting == 1)
            try:
                with scheduler.seat(60):
                    return "let in"
            except Busy as error:
                return str(error)
            finally:
                leave.set()

        *_, refused = together(first, second, third)
        assert order == ["first", "second"]
        assert refused == "1 questions wait for the model already. Ask again later."


def test_the_foreground_comes_in_before_the_background_that_came_first() -> None:
    with shared(toy(), memory=lambda: 100) as scheduler:
        order: list[str] = []

        def ask(name: str, foreground: bool) -> None:
            with scheduler.seat(80, foreground=foreground):
                order.append(name)

        with scheduler.seat(80):
            threads = []
            for i, (name, ahead) in enumerate([("behind", False), ("ahead", True)]):
                threads.append(threading.Thread(target=ask, args=(name, ahead)))
                threads[-1].start()
                until(lambda i=i: scheduler.traffic.waiting == i + 1)
        for thread in threads:
            thread.join(PATIENCE)
        assert order == ["ahead", "behind"]


def test_the_background_leaves_room_for_the_foreground() -> None:
    with shared(toy(), memory=lambda: 100, most=4) as scheduler, scheduler.seat(40, foreground=False):
        cancel = Cancellation()
        waits = threading.Thread(target=lambda: together(lambda: enter(scheduler, cancel)))
        waits.start()
        until(lambda: scheduler.traffic.waiting == 1)
        with scheduler.seat(60):
            pass
        cancel.request()
        waits.join(PATIENCE)


def enter(scheduler: Scheduler, cancel: Cancellation) -> None:
    with scheduler.seat(40, foreground=False, cancel=cancel):
        pass


def test_what_is_larger_than_the_memory_is_let_in_alone() -> None:
    with shared(toy(), memory=lambda: 100) as scheduler, scheduler.seat(500):
        assert scheduler.traffic.foreground == 1


def test_kept_branches_make_room() -> None:
    session = toy()
    each = 50 * session.info.bytes_per_token
    with shared(session, memory=lambda: 3 * each, kept_bytes=2 * each) as scheduler:
        for first in (1, 2):
            with scheduler.seat(each) as seat:
                seat.prefill(prompt_of(first, 50))
        assert scheduler.traffic.kept_branches == 2
        with scheduler.seat(2 * each):
            assert scheduler.traffic.kept_branches == 1


# Cancelling and closing


def test_waiting_in_line_can_be_cancelled() -> None:
    with shared(toy(), memory=lambda: 100) as scheduler, scheduler.seat(80):
        cancel = Cancellation()

        def stop() -> None:
            until(lambda: scheduler.traffic.waiting == 1)
            cancel.request()

        refused, _ = together(lambda: enter(scheduler, cancel), stop)
        assert isinstance(refused, Cancelled)
        assert scheduler.traffic.waiting == 0


def test_a_prompt_that_waits_its_turn_can_be_cancelled_while_others_read() -> None:
    session = toy()
    with shared(session) as scheduler, scheduler.seat() as busy, scheduler.seat() as waits:
        cancel = Cancellation()
        session.gate.clear()

        def stop() -> None:
            assert session.entered.wait(PATIENCE)
            until(lambda: len(scheduler._waiting) == 1)
            cancel.request()

        def ask() -> Any:
            assert session.entered.wait(PATIENCE)
            try:
                waits.prefill(prompt_of(2), cancel)
            except Cancelled:
                session.gate.set()
                return "cancelled"
            return "read"

        results = together(lambda: busy.prefill(prompt_of(1)), ask, stop)
        assert results[1] == "cancelled"
        assert session.log == ["read 1"]


def test_a_reading_that_is_cancelled_half_way_leaves_nothing() -> None:
    session = toy()
    with shared(session) as scheduler, scheduler.seat() as seat:
        cancel = Cancellation()
        count = 0

        def arrive(what: str) -> None:
            nonlocal count
            count += 1
            if count == 2:
                cancel.request()

        session._arrive = arrive  # type: ignore[method-assign]
        with pytest.raises(Cancelled):
            seat.prefill(prompt_of(1, 100), cancel)
        assert session.live == []
        assert seat.held == {}


def test_closing_ends_those_who_wait_with_one_sentence() -> None:
    session = toy()
    scheduler = Scheduler(session, Sharing(lambda: 100))
    started = threading.Event()

    def inside() -> None:
        with scheduler.seat(80) as seat:
            branch, _ = seat.prefill(prompt_of(1))
            started.set()
            while True:
                seat.step([branch], [2])

    def outside() -> None:
        assert started.wait(PATIENCE)
        with scheduler.seat(80):
            pass

    def close() -> None:
        until(lambda: scheduler.traffic.waiting == 1)
        scheduler.close()

    first, second, _ = together(inside, outside, close)
    assert isinstance(first, InvalidInput)
    assert isinstance(second, InvalidInput)
    with (
        pytest.raises(InvalidInput, match=r"^The engine is closed\. Load the model again\.$"),
        scheduler.seat(),
    ):
        pass


def test_a_seat_that_was_given_up_is_refused() -> None:
    session = toy()
    with shared(session) as scheduler:
        with scheduler.seat() as seat:
            branch, _ = seat.prefill(prompt_of(1))
        with pytest.raises(InvalidInput):
            seat.prefill(prompt_of(1))
        with pytest.raises(InvalidInput):
            seat.step([branch], [1])
        assert session.live == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_told_to_load_the_model_itself() -> None:
    with shared(toy()) as scheduler:
        with scheduler.seat() as seat:
            seat.prefill(prompt_of(1))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with scheduler.seat():
                    pass
            except InvalidInput as error:
                code = 0 if "before this process was forked" in str(error) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_seats_are_sessions() -> None:
    with shared(toy()) as scheduler, scheduler.seat() as seat:
        assert isinstance(seat, Seat)
        assert isinstance(seat, Session)


# What goes wrong


def test_coming_and_going_from_many_threads_is_counted_right() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with shared(toy(), most=64) as scheduler:

            def come_and_go() -> None:
                for _ in range(400):
                    with scheduler.seat(10):
                        pass

            assert together(*[come_and_go] * 12) == [None] * 12
            assert scheduler.traffic.foreground == 0
    finally:
        sys.setswitchinterval(before)


class Guessing(Watched):
    """Its passes over one branch take long enough for the others to come back meanwhile."""

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        time.sleep(0.002)
        return super().extend(branch, tokens)


def test_passes_that_cannot_be_shared_do_not_keep_those_waiting_that_can() -> None:
    session = Guessing(ToyModel.random(VOCABULARY, seed=3), context=4000, chunk=4000)
    with shared(session) as scheduler:
        stop = threading.Event()
        ready = threading.Barrier(3)

        def guess(first: int) -> None:
            with scheduler.seat() as seat:
                branch, _ = seat.prefill(prompt_of(first))
                ready.wait(PATIENCE)
                for _ in range(300):
                    if stop.is_set():
                        break
                    seat.extend(branch, [1, 2])
                    seat.truncate(branch, 6)

        def step() -> int:
            with scheduler.seat() as seat:
                branch, _ = seat.prefill(prompt_of(3))
                ready.wait(PATIENCE)
                began = session.passes
                for _ in range(20):
                    seat.step([branch], [1])
                stop.set()
                return session.passes - began

        *_, passes = together(lambda: guess(1), lambda: guess(2), step)
        assert passes < 100, "a turn each"


class Interrupted(Watched):
    """A pass over steps that is interrupted, as Ctrl-C does where no handler is set, once it is done."""

    where = ""

    @property
    def capabilities(self) -> Capabilities:
        if self.where == "after":
            self.where = ""
            raise KeyboardInterrupt
        return super().capabilities

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        logits = super().step(branches, tokens)
        if self.where == "in":
            self.where = "after"
        return logits


def test_an_interrupt_between_passes_leaves_the_session_to_others_and_no_wrong_beginnings() -> None:
    session = Interrupted(ToyModel.random(VOCABULARY, seed=3), context=4000, chunk=4000)
    prompt = prompt_of(3, 40)
    with shared(session, kept_bytes=100_000) as scheduler:
        with scheduler.seat() as seat:
            branch, _ = seat.prefill(prompt)
            session.where = "in"
            with pytest.raises(KeyboardInterrupt):
                seat.step([branch], [5])
            for token in (6, 7):
                seat.step([branch], [token])
        longer = [*prompt, 6, 7, 8]  # what it would seem to hold if the token 5 were forgotten
        with scheduler.seat() as seat:
            _, logits = seat.prefill(longer)
            assert np.array_equal(logits, session.model.logits(longer))
            assert seat.cached == len(prompt)


def test_what_is_kept_makes_room_where_the_session_has_none() -> None:
    session = toy(most_branches=3)
    with shared(session, kept_bytes=100_000) as scheduler:
        for first in (1, 2):
            with scheduler.seat() as seat:
                seat.prefill(prompt_of(first, 50))
        assert scheduler.traffic.kept_branches == 2
        with scheduler.seat() as seat:
            branch, _ = seat.prefill(prompt_of(3, 50))
            assert len(seat.fork(branch, 2)) == 2
            assert scheduler.traffic.kept_branches == 0
            with pytest.raises(OutOfMemory):
                seat.fork(branch, 1)


def test_a_pass_that_waits_behind_others_can_be_cancelled() -> None:
    session = toy()
    with (
        shared(session) as scheduler,
        scheduler.seat() as ahead,
        scheduler.seat(foreground=False) as behind,
    ):
        first, _ = ahead.prefill(prompt_of(1))
        second, _ = behind.prefill(prompt_of(2))
        behind.cancel = Cancellation()
        session.gate.clear()
        session.entered.clear()

        def wait() -> Any:
            assert session.entered.wait(PATIENCE)
            try:
                behind.step([second], [3])
            except Cancelled:
                return "cancelled"
            finally:
                session.gate.set()

        def cancel() -> None:
            until(lambda: len(scheduler._waiting) == 1)
            assert behind.cancel is not None
            behind.cancel.request()

        _, outcome, _ = together(lambda: ahead.step([first], [2]), wait, cancel)
        assert outcome == "cancelled"
        assert second.length == 6
        behind.cancel = None
        assert np.array_equal(behind.step([second], [3])[0], session.model.logits([*prompt_of(2), 3]))
