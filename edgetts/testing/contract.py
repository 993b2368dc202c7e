"""The laws of the Session contract, as a class of tests that a runtime's tests inherit.

Knows `edgetts.decoding.session` and nothing of any runtime. pytest collects the methods of a class
that inherits; nothing here imports it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from edgetts.decoding.session import Branch, Cancellation, Cancelled, Logits, Session
from edgetts.errors import InvalidInput, PromptTooLong, Unsupported


class CancelledBySomebodyElse(Cancellation):
    """A cancellation that another thread requests when the session looks at it for the n-th time.

    So work is cancelled while it is under way, at the same point in every run.
    """

    def __init__(self, look: int = 1) -> None:
        super().__init__()
        self._look = look
        self.looks = 0

    @property
    def requested(self) -> bool:
        self._looked()
        return super().requested

    def register(self, interrupt: Callable[[], None]) -> None:
        super().register(interrupt)
        self._looked()

    def _looked(self) -> None:
        self.looks += 1
        if self.looks == self._look:
            other = threading.Thread(target=self.request)
            other.start()
            other.join()


class SessionContract(ABC):
    """Inherit in a class named Test..., and say how to open a session and how to count its tokens.

    The model: a small one whose logits depend on every token, vocabulary of at least 8, context of
    at least 40 and few enough tokens to be filled in a test.
    """

    tolerance: float | None = None
    """Largest difference allowed between logits of the same tokens; None is what the session states."""

    @abstractmethod
    def open_session(self) -> Session:
        """Return a fresh session, which the test closes."""

    @abstractmethod
    def tokens_run(self, session: Session) -> int:
        """Return how many tokens a session has sent through its network so far, rows of padding included."""

    # What the logits are

    def test_info_states_what_can_be(self) -> None:
        with self._session() as session:
            info = session.info
            _law(info.vocab > 0 and info.layers > 0 and info.context > 0, "sizes are greater than zero")
            _law(
                all(0 <= token < info.vocab for token in info.end_tokens), "end tokens are in the vocabulary"
            )
            _law(list(info.cuts) == sorted(set(info.cuts)), "cuts ascend")
            _law(all(0 < cut < info.layers for cut in info.cuts), "cuts lie inside the network")

    def test_the_same_tokens_give_the_same_logits(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 11)
            first, logits = session.prefill(tokens)
            _law(logits.shape == (session.info.vocab,), "prefill returns the logits of the last position")
            _law(logits.dtype == np.float32, "logits are float32")
            _law(first.length == 11, "a branch is as long as what it has read")
            kept = logits.copy()
            self._same(session, session.prefill(tokens)[1], kept, "the same prompt, read twice")
            _law(bool(np.array_equal(kept, logits)), "prefill's logits stay what they were")

    def test_every_token_of_a_prompt_matters(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 11)
            whole = self._alone(session, tokens)
            for at in (0, 5, 10):
                other = list(tokens)
                other[at] = (other[at] + 1) % session.info.vocab
                _law(
                    not np.array_equal(self._alone(session, other), whole), f"token {at} of a prompt is read"
                )

    def test_reading_in_parts_equals_reading_at_once(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 23)
            branch, _ = session.prefill(tokens[:1])
            if session.capabilities.extend:
                session.extend(branch, tokens[1:7])
                session.extend(branch, tokens[7:20])
            for token in tokens[branch.length :]:
                logits = self._step(session, [branch], [token])
            _law(branch.length == 23, "a branch is as long as what it has read")
            _law(logits.shape == (1, session.info.vocab), "a step returns one row for each branch")
            self._same(session, logits[0], self._alone(session, tokens), "reading in parts")

    def test_reading_on_equals_a_longer_prompt(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 30)
            branch, _ = session.prefill(tokens[:3])
            session.read(branch, tokens[3:4])
            logits = session.read(branch, tokens[4:29])
            _law(branch.length == 29, "a branch is as long as what it has read")
            _law(logits.shape == (session.info.vocab,), "reading returns the last token's logits")
            other, _ = session.prefill(_tokens(session, 5, salt=3))
            session.read(other, _tokens(session, 4, salt=4))
            self._same(session, logits, self._alone(session, tokens[:29]), "reading on")
            logits = self._step(session, [branch], tokens[29:])[0]
            self._same(session, logits, self._alone(session, tokens), "a step after reading on")

    def test_a_cancelled_reading_can_be_cut_off(self) -> None:
        with self._session() as session:
            for cancel in (Cancellation(), CancelledBySomebodyElse()):
                if not isinstance(cancel, CancelledBySomebodyElse):
                    cancel.request()
                branch, _ = session.prefill([1, 2])
                _refuses(Cancelled, "a cancelled reading", session.read, branch, _tokens(session, 30), cancel)
                _law(2 <= branch.length <= 32, "what was read stays")
                if session.capabilities.truncate:
                    session.truncate(branch, 2)
                    self._untouched(session, branch, [1, 2])
                session.free(branch)

    def test_extend_returns_the_logits_of_every_token(self) -> None:
        with self._session() as session:
            if not session.capabilities.extend:
                return
            tokens = _tokens(session, 9)
            branch, _ = session.prefill(tokens[:3])
            logits = session.extend(branch, tokens[3:]).copy()
            _law(logits.shape == (6, session.info.vocab), "extend returns the logits of every token")
            for i, row in enumerate(logits):
                self._same(session, row, self._alone(session, tokens[: 4 + i]), f"extend's row {i}")

    # Branches

    def test_fork_then_step_equals_stepping_alone(self) -> None:
        with self._session() as session:
            if not session.capabilities.fork:
                return
            tokens = _tokens(session, 13)
            branch, _ = session.prefill(tokens)
            children = session.fork(branch, 3)
            _law([c.length for c in children] == [13] * 3, "children are as long as their parent")
            for token in (2, 5):
                logits = self._step(session, children, [token, token + 1, token])
            for row, tail in zip(logits, ([2, 5], [3, 6], [2, 5]), strict=True):
                self._same(session, row, self._alone(session, [*tokens, *tail]), "a forked branch")
            _law(branch.length == 13, "a fork leaves its parent as it was")
            logits = self._step(session, [branch], [7])
            self._same(session, logits[0], self._alone(session, [*tokens, 7]), "the parent")

    def test_branches_of_different_lengths_share_a_pass(self) -> None:
        with self._session() as session:
            prompts = [_tokens(session, length, salt=length) for length in (1, 17, 4, 9)]
            branches = [session.prefill(prompt)[0] for prompt in prompts]
            for order in ((0, 1, 2, 3), (3, 1), (2, 0, 1), (1,), (3, 2, 1, 0)):
                drawn = [(3 * i + len(prompts[i])) % session.info.vocab for i in order]
                logits = self._step(session, [branches[i] for i in order], drawn)
                for i, token, row in zip(order, drawn, logits, strict=True):
                    prompts[i].append(token)
                    self._same(session, row, self._alone(session, prompts[i]), f"branch {i} in {order}")
                    _law(branches[i].length == len(prompts[i]), "a step appends one token")

    def test_freed_branches_leave_the_others_as_they_were(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 6)
            children = self._copies(session, tokens, 6)
            tails = [[i + 1] for i in range(6)]
            self._step(session, children, [tail[-1] for tail in tails])
            for gone in (1, 4, 0):
                session.free(children[gone])
            left = (5, 2, 3)
            logits = self._step(session, [children[i] for i in left], [i % 3 for i in left])
            for i, row in zip(left, logits, strict=True):
                self._same(session, row, self._alone(session, [*tokens, *tails[i], i % 3]), f"branch {i}")

    def test_truncate_then_extend_equals_never_having_gone_further(self) -> None:
        with self._session() as session:
            if not session.capabilities.truncate:
                return
            tokens = _tokens(session, 15)
            branch, sibling = self._copies(session, tokens, 2)
            for length in (15, 8, 1, 0):
                session.truncate(branch, length)
                _law(branch.length == length, "a branch is as long as it was cut")
                logits = self._step(session, [branch], [3])
                self._same(
                    session, logits[0], self._alone(session, [*tokens[:length], 3]), f"cut to {length}"
                )
                session.truncate(branch, length)
            logits = self._step(session, [sibling], [3])
            self._same(session, logits[0], self._alone(session, [*tokens, 3]), "the sibling of what was cut")

    def test_a_prefix_is_read_once(self) -> None:
        with self._session() as session:
            began = self.tokens_run(session)
            branch, _ = session.prefill(_tokens(session, 21))
            _law(self.tokens_run(session) - began == 21, "prefill reads every token once")
            branches = [branch]
            if session.capabilities.fork:
                branches += session.fork(branch, 4)
            _law(self.tokens_run(session) - began == 21, "a fork reads nothing again")
            session.step(branches, list(range(len(branches))))
            read = 21 + len(branches)
            _law(self.tokens_run(session) - began == read, "a step reads one token for each branch")
            if session.capabilities.extend:
                session.extend(branch, [1, 2, 3])
                _law(self.tokens_run(session) - began == read + 3, "extend reads every token once")

    # Exits

    def test_stopping_at_a_cut_and_completing_equals_extending(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 14)
            for cut in session.capabilities.exits:
                branch, _ = session.prefill(tokens[:4])
                streams = [session.advance(branch, tokens[4:5], cut).copy()]
                streams.append(session.advance(branch, tokens[5:9], cut).copy())
                _law([len(s) for s in streams] == [1, 4], "advance returns the stream of the new tokens")
                _law((branch.length, branch.pending) == (9, 5), "tokens at a cut are pending")
                logits = session.complete(branch, tokens[9:11]).copy()
                _law(logits.shape == (7, session.info.vocab), "complete returns logits of all pending tokens")
                _law((branch.length, branch.pending) == (11, 0), "nothing is pending when all is complete")
                for i, row in enumerate(logits):
                    self._same(session, row, self._alone(session, tokens[: 5 + i]), f"complete's row {i}")
                logits = self._step(session, [branch], tokens[11:12])
                self._same(session, logits[0], self._alone(session, tokens[:12]), "a step after complete")

    def test_a_stream_does_not_depend_on_how_it_got_there(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 9)
            for cut in session.capabilities.exits:
                branch, twin = self._copies(session, tokens[:3], 2)
                at_once = session.advance(twin, tokens[3:], cut).copy()
                for at, token in enumerate(tokens[3:]):
                    # Through every earlier cut, and back to an early one with the next token.
                    session.advance(branch, [token], session.capabilities.exits[0])
                    if cut != session.capabilities.exits[0]:
                        stream = session.advance(branch, [], cut).copy()
                        self._same(session, stream[0], at_once[at], f"the stream of token {at}")
                logits, expected = session.complete(branch).copy(), session.complete(twin).copy()
                self._same(session, logits, expected, "complete after many stops")

    def test_pending_tokens_can_be_taken_back(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 12)
            for cut in session.capabilities.exits:
                branch, sibling = self._copies(session, tokens[:5], 2)
                for length in (8, 6, 5, 3):
                    if branch.length < 8:
                        session.advance(branch, tokens[branch.length : 8], cut)
                    session.truncate(branch, length)
                    _law(branch.length == length, "a branch is as long as it was cut")
                    other = session.complete(branch, [3]).copy()
                    self._same(
                        session, other[-1], self._alone(session, [*tokens[:length], 3]), f"cut to {length}"
                    )
                    session.truncate(branch, min(length, 5))
                self._same(
                    session,
                    self._step(session, [sibling], [3])[0],
                    self._alone(session, [*tokens[:5], 3]),
                    "the sibling of what was pending",
                )

    def test_a_branch_whose_pending_tokens_were_cut_off_goes_on_as_any_other(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 8)
            for cut in session.capabilities.exits:
                branch, _ = session.prefill(tokens[:4])
                session.advance(branch, tokens[4:6], cut)
                session.truncate(branch, 4)
                self._step(session, [branch], tokens[4:5])
                session.advance(branch, tokens[5:6], cut)
                _law((branch.length, branch.pending) == (6, 1), "only the last token is pending")
                logits = session.complete(branch, tokens[6:]).copy()
                for i, row in enumerate(logits):
                    self._same(session, row, self._alone(session, tokens[: 6 + i]), f"complete's row {i}")

    def test_a_branch_with_pending_tokens_is_refused_elsewhere(self) -> None:
        with self._session() as session:
            exits = session.capabilities.exits
            branch, other = self._copies(session, [1, 2], 2)
            if not exits:
                _refuses(Unsupported, "stopping at a cut", session.advance, branch, [1], 1)
                _refuses(Unsupported, "completing", session.complete, branch, [1])
                self._untouched(session, branch, [1, 2])
                return
            absent = max(exits) + 1
            _refuses(Unsupported, "stopping where no cut is", session.advance, branch, [1], absent)
            _refuses(InvalidInput, "completing nothing", session.complete, branch)
            for wrong in (-1, session.info.vocab):
                _refuses(InvalidInput, f"advancing by {wrong}", session.advance, branch, [wrong], exits[0])
            session.advance(branch, [4], exits[0])
            _refuses(InvalidInput, "a step of a pending branch", session.step, [other, branch], [1, 1])
            _refuses(InvalidInput, "extending a pending branch", session.extend, branch, [1])
            _refuses(InvalidInput, "a fork of a pending branch", session.fork, branch, 1)
            session.truncate(branch, 2)
            self._untouched(session, branch, [1, 2])
            session.advance(other, [4], exits[0])
            session.free(other)
            _refuses(InvalidInput, "completing a freed branch", session.complete, other)

    def test_the_context_limits_pending_tokens_too(self) -> None:
        with self._session() as session:
            for cut in session.capabilities.exits[:1]:
                tokens = _tokens(session, session.info.context)
                branch, _ = session.prefill(tokens[:-1])
                session.advance(branch, tokens[-1:], cut)
                _refuses(PromptTooLong, "advancing beyond the context", session.advance, branch, [1], cut)
                _refuses(PromptTooLong, "completing beyond the context", session.complete, branch, [1])
                logits = session.complete(branch).copy()
                self._same(session, logits[0], self._alone(session, tokens), "a full context")

    # What is refused, and what is left afterwards

    def test_what_a_session_cannot_do_it_refuses(self) -> None:
        with self._session() as session:
            branch, _ = session.prefill([1, 2])
            can = session.capabilities
            if not can.fork:
                _refuses(Unsupported, "a fork", session.fork, branch, 2)
            if not can.extend:
                _refuses(Unsupported, "extend", session.extend, branch, [1])
            if not can.truncate:
                _refuses(Unsupported, "truncate", session.truncate, branch, 1)
            self._untouched(session, branch, [1, 2])

    def test_wrong_branches_are_refused(self) -> None:
        with self._session() as session, self._session() as other:
            branch, _ = session.prefill([1, 2])
            foreign, _ = other.prefill([1, 2])
            freed, _ = session.prefill([1, 2])
            session.free(freed)
            for wrong, what in ((foreign, "a foreign branch"), (freed, "a freed branch")):
                self._refuses_everything(session, wrong, what)
                _refuses(InvalidInput, f"a step with {what}", session.step, [branch, wrong], [1, 2])
            _refuses(InvalidInput, "a branch twice in one step", session.step, [branch] * 2, [1, 2])
            _refuses(InvalidInput, "a token too many", session.step, [branch], [1, 2])
            _refuses(InvalidInput, "a step of nothing", session.step, [], [])
            self._untouched(session, branch, [1, 2])
            self._untouched(other, foreign, [1, 2])

    def test_wrong_tokens_are_refused(self) -> None:
        with self._session() as session:
            branch, second = self._copies(session, [1, 2], 2)
            for wrong in (-1, session.info.vocab, 1 << 40):
                _refuses(InvalidInput, f"prefill of {wrong}", session.prefill, [1, wrong])
                _refuses(InvalidInput, f"a step with {wrong}", session.step, [branch, second], [1, wrong])
                if session.capabilities.extend:
                    _refuses(InvalidInput, f"extend by {wrong}", session.extend, branch, [1, wrong])
            _refuses(InvalidInput, "prefill of nothing", session.prefill, [])
            if session.capabilities.extend:
                _refuses(InvalidInput, "extend by nothing", session.extend, branch, [])
            self._untouched(session, branch, [1, 2])

    def test_wrong_lengths_and_counts_are_refused(self) -> None:
        with self._session() as session:
            branch, _ = session.prefill([1, 2])
            if session.capabilities.fork:
                for n in (0, -1):
                    _refuses(InvalidInput, f"a fork into {n}", session.fork, branch, n)
            if session.capabilities.truncate:
                for length in (-1, 3):
                    _refuses(InvalidInput, f"a cut to {length}", session.truncate, branch, length)
            self._untouched(session, branch, [1, 2])

    def test_the_context_is_a_limit(self) -> None:
        with self._session() as session:
            context = session.info.context
            tokens = _tokens(session, context + 1)
            _refuses(PromptTooLong, "a prompt longer than the context", session.prefill, tokens)
            full, _ = session.prefill(tokens[:-1])
            short, _ = session.prefill([1, 2])
            _refuses(PromptTooLong, "a step beyond the context", session.step, [full], [1])
            _refuses(PromptTooLong, "a step with one full branch", session.step, [short, full], [1, 1])
            if session.capabilities.extend:
                _refuses(PromptTooLong, "extend beyond the context", session.extend, full, [1])
                _refuses(PromptTooLong, "extend by too many", session.extend, short, tokens[: context - 1])
            _law(full.length == context, "a refused step appends nothing")
            self._untouched(session, short, [1, 2])

    def test_a_cancelled_prefill_leaves_nothing(self) -> None:
        with self._session() as session:
            branch, _ = session.prefill([1, 2])
            before = Cancellation()
            before.request()
            for cancel in (before, CancelledBySomebodyElse()):
                _refuses(Cancelled, "a cancelled prefill", session.prefill, _tokens(session, 30), cancel)
            unused = Cancellation()
            logits = session.prefill([1, 2, 3], unused)[1]
            self._same(session, logits, self._alone(session, [1, 2, 3]), "a prefill that nobody cancelled")
            unused.request()
            self._untouched(session, branch, [1, 2])

    def test_a_closed_session_refuses_everything(self) -> None:
        session = self.open_session()
        branch, _ = session.prefill([1, 2])
        session.close()
        session.close()
        _refuses(InvalidInput, "prefill after close", session.prefill, [1, 2])
        self._refuses_everything(session, branch, "a branch of a closed session")

    # Threads

    def test_threads_do_not_disturb_each_other(self) -> None:
        with self._session() as session:
            starts = [_tokens(session, 3 + 2 * i, salt=i) for i in range(4)]
            walks = [partial(self._read_and_walk, session, tokens) for tokens in starts]
            self._together(session, walks, [walk(meet=lambda: None) for walk in walks])

    def test_siblings_may_live_in_different_threads(self) -> None:
        with self._session() as session:
            tokens = _tokens(session, 7)
            alone = [self._walk(session, session.prefill(tokens)[0], salt) for salt in range(4)]
            siblings = self._copies(session, tokens, 4)
            walks = [partial(self._walk, session, sibling, i) for i, sibling in enumerate(siblings)]
            self._together(session, walks, alone)

    # Helps

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = self.open_session()
        try:
            yield session
        finally:
            session.close()

    def _alone(self, session: Session, tokens: Sequence[int]) -> Logits:
        """Return the logits after some tokens, read by a branch of their own."""
        branch, logits = session.prefill(tokens)
        session.free(branch)
        return logits

    def _step(self, session: Session, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        logits: Logits = session.step(branches, tokens).copy()
        return logits

    def _copies(self, session: Session, tokens: Sequence[int], n: int) -> list[Branch]:
        """Make n branches of the same tokens, by forking where the session can."""
        if not session.capabilities.fork:
            return [session.prefill(tokens)[0] for _ in range(n)]
        branch, _ = session.prefill(tokens)
        children = session.fork(branch, n)
        session.free(branch)
        return children

    def _read_and_walk(
        self, session: Session, tokens: Sequence[int], meet: Callable[[], object]
    ) -> list[Logits]:
        return self._walk(session, session.prefill(tokens)[0], 0, meet)

    def _walk(
        self, session: Session, branch: Branch, salt: int, meet: Callable[[], object] = lambda: None
    ) -> list[Logits]:
        """Step a branch a few times and free it; return what it saw. `meet` is called before each look."""
        rows = []
        for i in range(12):
            logits = session.step([branch], [(5 * i + salt) % session.info.vocab])
            meet()
            rows.append(logits[0].copy())
        session.free(branch)
        return rows

    def _together(
        self, session: Session, walks: Sequence[Callable[..., list[Logits]]], expected: Sequence[list[Logits]]
    ) -> None:
        """Run all walks at once, each in its thread, and compare what they saw.

        Each looks at the logits of a step only when all others have made theirs.
        """
        seen: dict[int, list[Logits]] = {}
        meeting = threading.Barrier(len(walks))

        def run(i: int) -> None:
            try:
                seen[i] = walks[i](meet=meeting.wait)
            finally:
                if i not in seen:
                    meeting.abort()

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(walks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i, rows in enumerate(expected):
            _law(i in seen, f"thread {i} comes to its end")
            for row, other in zip(rows, seen[i], strict=True):
                self._same(session, other, row, f"thread {i}")

    def _refuses_everything(self, session: Session, branch: Branch, what: str) -> None:
        _refuses(InvalidInput, f"a step of {what}", session.step, [branch], [1])
        _refuses(InvalidInput, f"freeing {what}", session.free, branch)
        _refuses(InvalidInput, f"reading on after {what}", session.read, branch, [1])
        if session.capabilities.fork:
            _refuses(InvalidInput, f"a fork of {what}", session.fork, branch, 1)
        if session.capabilities.extend:
            _refuses(InvalidInput, f"extending {what}", session.extend, branch, [1])
        if session.capabilities.truncate:
            _refuses(InvalidInput, f"cutting {what}", session.truncate, branch, 0)

    def _untouched(self, session: Session, branch: Branch, tokens: Sequence[int]) -> None:
        """Check that a refused call left a branch as it was."""
        _law(branch.length == len(tokens), "a refused call leaves a branch as long as it was")
        logits = self._step(session, [branch], [3])[0]
        self._same(session, logits, self._alone(session, [*tokens, 3]), "a branch after a refused call")

    def _same(self, session: Session, found: Logits, expected: Logits, what: str) -> None:
        allowed = session.capabilities.tolerance if self.tolerance is None else self.tolerance
        largest = float(np.abs(found - expected).max())
        # Not "largest > allowed": NaN must not pass.
        _law(
            largest <= allowed,
            f"{what} gives the same logits (they differ by {largest:.3g}, {allowed:.3g} allowed)",
        )


def _tokens(session: Session, length: int, salt: int = 0) -> list[int]:
    return [(7 * i * i + 3 * i + salt) % session.info.vocab for i in range(length)]


def _law(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"The contract says: {sentence}.")


def _refuses(error: type[BaseException], what: str, call: Callable[..., object], *arguments: object) -> None:
    try:
        call(*arguments)
    except error:
        return
    raise AssertionError(f"The contract says: {what} raises {error.__name__}.")
