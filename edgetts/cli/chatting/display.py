"""Show a chat: answers on stdout, and all else on stderr; or one JSON object a line for programs."""

from __future__ import annotations

import json
import sys
import unicodedata
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import click

from edgetts.cli.shared.asking import is_terminal

if TYPE_CHECKING:
    from edgetts.conversation import ChatEvent, TurnsDropped
    from edgetts.errors import EdgettsError
    from edgetts.types import Answer


class Display(Protocol):
    """What a chat shows. For each line that is read: notices and events, then one of the last three calls."""

    def notice(self, sentence: str) -> None: ...

    def event(self, event: ChatEvent) -> None: ...

    def answered(self, answer: Answer, filled: int, context: int) -> None:
        """Show the end of an answer. filled: tokens of the context that the chat takes now."""
        ...

    def done(self, command: str) -> None:
        """Take it that a command was obeyed."""
        ...

    def failed(self, error: EdgettsError) -> None: ...


class TextDisplay:
    """For a person, and for pipes that want answers only."""

    def __init__(self) -> None:
        self._terminal = is_terminal(sys.stdout)
        self._progress = is_terminal(sys.stderr)
        self._many = False
        self._streamed = ""
        self._counting = ""

    def notice(self, sentence: str) -> None:
        self._clear()
        self._end_line()
        click.echo(f"({sentence})" if "\n" not in sentence else sentence, err=True)

    def event(self, event: ChatEvent) -> None:
        from edgetts.conversation import TurnsDropped
        from edgetts.types import PlanMade, SampleDone, StepsTaken, TextDelta

        if isinstance(event, TurnsDropped):
            self.notice(dropped_sentence(event))
        elif isinstance(event, PlanMade):
            self._many = event.plan.samples > 1
        elif isinstance(event, TextDelta) and not self._many:
            click.echo(self._safe(event.text), nl=False)
            sys.stdout.flush()
            self._streamed += event.text
        elif isinstance(event, SampleDone) and event.planned > 1:
            self._count(f"sample {event.done} of {event.planned}")
        elif isinstance(event, StepsTaken):
            self._count(f"step {event.depth}: {event.open} open, {event.ended} ended")

    def answered(self, answer: Answer, filled: int, context: int) -> None:  # noqa: ARG002 - /stats tells them
        self._clear()
        if self._streamed:
            self._end_line()
        elif not answer.abstained:
            click.echo(self._safe(answer.text))
        self._many = False
        if sentence := sure_sentence(answer):
            self.notice(sentence)
        if sentence := end_sentence(answer):
            self.notice(sentence)

    def done(self, command: str) -> None:
        """Show nothing: what a command did, its notices say."""

    def failed(self, error: EdgettsError) -> None:
        self._clear()
        self._end_line()
        self._many = False
        click.echo(f"edgetts: {error}", err=True)

    def _safe(self, text: str) -> str:
        """What a model says must not steer the terminal."""
        if not self._terminal:
            return text
        return "".join(
            c if c in "\n\t" or unicodedata.category(c) != "Cc" else c.encode("unicode_escape").decode()
            for c in text
        )

    def _end_line(self) -> None:
        if self._streamed:
            click.echo()
            self._streamed = ""

    def _count(self, text: str) -> None:
        if self._progress:
            click.echo(f"\r{text:<{len(self._counting)}}", nl=False, err=True)
            self._counting = text

    def _clear(self) -> None:
        if self._counting:
            click.echo(f"\r{'':<{len(self._counting)}}\r", nl=False, err=True)
            self._counting = ""


class JsonDisplay:
    """For programs: one line in, one object out."""

    def __init__(self) -> None:
        self._notices: list[str] = []

    def notice(self, sentence: str) -> None:
        self._notices.append(sentence)

    def event(self, event: ChatEvent) -> None:
        from edgetts.conversation import TurnsDropped

        if isinstance(event, TurnsDropped):
            self.notice(dropped_sentence(event))

    def answered(self, answer: Answer, filled: int, context: int) -> None:
        if sentence := end_sentence(answer):
            self.notice(sentence)
        self._print(
            {
                "text": answer.text,
                "answer": answer.answer,
                "confidence": answer.confidence,
                "confidence_source": answer.confidence_source,
                "abstained": answer.abstained,
                "stop_reason": answer.stop_reason,
                "model": answer.model,
                "strategy": answer.plan.strategy,
                "cached_tokens": answer.usage.cached_tokens,
                "context": {"filled": filled, "of": context},
                "usage": asdict(answer.usage),
            }
        )

    def done(self, command: str) -> None:
        self._print({"command": command})

    def failed(self, error: EdgettsError) -> None:
        self._print({"error": str(error), "kind": type(error).__name__, "code": error.exit_code})

    def _print(self, body: dict[str, object]) -> None:
        click.echo(json.dumps({**body, "notices": self._notices}))
        sys.stdout.flush()
        self._notices = []


def dropped_sentence(event: TurnsDropped) -> str:
    """Say that the context was full."""
    turns = "the oldest turn is" if event.count == 1 else f"the {event.count} oldest turns are"
    return (
        f"the context is full: {turns} dropped, and {event.tokens} of {event.context} tokens are filled now"
    )


def sure_sentence(answer: Answer) -> str:
    """Say how sure an answer is that was chosen among several; empty for one that was not."""
    if len(answer.samples) < 2:
        return ""
    parts = [f"chosen among {len(answer.samples)} samples by {answer.plan.strategy}"]
    if answer.answer is not None:
        found = [sample.answer for sample in answer.samples if sample.answer is not None]
        same = found.count(answer.answer)
        parts.append(f"{same} of {len(found)} answers found are {' '.join(answer.answer.split())[:60]}")
    if answer.confidence is not None:
        parts.append(f"confidence {answer.confidence:.2f} by {answer.confidence_source}")
    return "; ".join(parts)


def end_sentence(answer: Answer) -> str:
    """Say why an answer ends where the model did not end it; empty where it did."""
    if answer.abstained:
        return f"no answer is given: {answer.abstention_reason}"
    if not answer.text:
        return f"nothing was said before the answer was stopped ({answer.stop_reason}); the chat is as before"
    if answer.stop_reason == "cancelled":
        return "stopped; what there is of the answer is kept"
    reasons = {sample.finish_reason for sample in answer.samples if sample.text == answer.text}
    if reasons & {"end", "stop"}:
        return ""
    told = {
        "deadline": "by the deadline",
        "tokens": "by the budget of tokens",
        "joules": "by the budget of joules",
    }
    cut = told.get(answer.stop_reason, "at its greatest length")
    return f"cut off {cut}" if reasons & {"deadline", "budget", "length"} else ""
