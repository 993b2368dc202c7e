"""An engine whose model says what a test wants, at the speed that it wants, on a clock that only passes move."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TinyBundle
from tiny import CHAT_TEMPLATE, END, END_OF_TEXT, token_id, vocabulary

from edgetts.bundle import TOKENIZER, read_manifest
from edgetts.chat import ChatTemplate
from edgetts.decoding.session import Branch, Cancellation, Capabilities, Logits
from edgetts.engine import Engine
from edgetts.host import Host
from edgetts.profiles.curves import StepTimes
from edgetts.testing import FakeSession, ToyModel
from edgetts.tokenizer import Tokenizer

SPACE = ord(" ")
ENDLESS = b"0" * 100_000
"""What a model says that never ends by itself."""


@pytest.fixture(scope="session")
def tiny_engine_bundle(tiny_bundle: TinyBundle) -> Path:
    """A real bundle of the tiny llama, in fp32."""
    return tiny_bundle("llama").bundle


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_engine_bundle: Path) -> Tokenizer:
    return Tokenizer.load(tiny_engine_bundle / TOKENIZER, read_manifest(tiny_engine_bundle).tokenizer)


class FakeClock:
    """Seconds that pass only when somebody adds some."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedSession(FakeSession):
    """Sample i says scripts[i], and ends; each begins with one space, which every sample shares.

    Scripts are bytes: the tiny vocabulary's first 256 tokens are the bytes. `clock` moves by the
    curve `times` at every pass, times what `load` yields next (how much longer passes take than was
    measured). `prefill_factor` does the same to reading the prompt. A token takes a pass, unless
    `capabilities` say that it can extend: then it can be drafted for.
    """

    def __init__(
        self,
        scripts: Sequence[bytes],
        *,
        clock: FakeClock | None = None,
        times: StepTimes | None = None,
        load: Iterator[float] | None = None,
        prefill_factor: float = 1.0,
        context: int = 200_000,
        capabilities: Capabilities | None = None,
        most_branches: int | None = None,
    ) -> None:
        size = len(vocabulary())
        self.end = token_id(END)
        # As far from the others as what the scripts say is; where something forbids it, another is taken.
        first = [2e-22] * size
        first[SPACE] = 1.0
        super().__init__(
            ToyModel(size, lambda prefix: first, frozenset({self.end})),
            context=context,
            capabilities=capabilities or Capabilities(tolerance=0.0, extend=False),
            most_branches=most_branches,
        )
        # Far enough apart that no temperature in use draws anything but what the script says.
        self._rows = np.full((size, size), -50.0, np.float32)
        np.fill_diagonal(self._rows, 0.0)
        self._scripts = scripts
        self._said: dict[int, tuple[bytes, int]] = {}
        self._kept: list[Branch] = []
        self.clock, self._times = clock or FakeClock(), times
        self._load = load
        self._prefill_factor = prefill_factor
        self.before_step: Callable[[int], None] = lambda passes: None
        self.last_pass = 0.0
        """Seconds that the latest pass took."""

    def prefill(self, tokens: Sequence[int], cancel: Cancellation | None = None) -> tuple[Branch, Logits]:
        result = super().prefill(tokens, cancel)
        if self._times is not None:
            self.clock.now += len(tokens) / self._times.prefill_rate * self._prefill_factor
        return result

    def step(self, branches: Sequence[Branch], tokens: Sequence[int]) -> Logits:
        self.before_step(len(self.widths))
        logits = super().step(branches, tokens)
        for row, branch in enumerate(branches):
            logits[row] = self._says(branch, branch.length)
        self._pass(len(branches))
        return logits

    def extend(self, branch: Branch, tokens: Sequence[int]) -> Logits:
        self.before_step(len(self.widths))
        before = branch.length
        logits = super().extend(branch, tokens)
        self.widths.append(len(tokens))
        for row in range(len(tokens)):
            logits[row] = self._says(branch, before + row + 1)
        self._pass(len(tokens))
        return logits

    def _says(self, branch: Branch, length: int) -> Logits:
        """Return what follows the first `length` tokens of a branch."""
        if id(branch) not in self._said:
            # Samples are listed in the order in which they were started.
            self._said[id(branch)] = (self._scripts[len(self._kept)], length)
            self._kept.append(branch)  # so that no other branch gets its id
        script, began = self._said[id(branch)]
        at = length - began
        row: Logits = self._rows[script[at] if at < len(script) else self.end]
        return row

    def _pass(self, width: int) -> None:
        if self._times is not None:
            factor = 1.0 if self._load is None else next(self._load)
            self.last_pass = self._times.at(width) * factor
            self.clock.now += self.last_pass


def scripted_engine(
    tokenizer: Tokenizer,
    session: FakeSession,
    *,
    clock: Callable[[], float] | None = None,
    times: StepTimes | None = None,
    memory_free: int = 1 << 40,
    others: Sequence[Host] = (),
    **options: Any,
) -> Engine:
    template = ChatTemplate(CHAT_TEMPLATE, bos_text=END_OF_TEXT, eos_text=END)
    more = {} if times is None else {"times": times}
    return Engine(
        session,
        tokenizer,
        template,
        clock=clock or FakeClock(),
        memory_free=lambda: memory_free,
        others=others,
        **more,
        **options,
    )
