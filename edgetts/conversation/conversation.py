"""A chat with an engine, one turn after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from edgetts.answering.asynchronous import afinished, cancellable, finished
from edgetts.conversation.files import read_history, write_history
from edgetts.conversation.fitting import TurnsDropped, WhenFull, fit
from edgetts.conversation.history import History, Turn
from edgetts.decoding.session import Cancellation
from edgetts.errors import InvalidInput
from edgetts.types import Answer, Event, Finished, FinishReason, SamplingParams, TextDelta

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgetts.answering.asked import AskedNow
    from edgetts.engine import Engine

ChatEvent = Event | TurnsDropped
"""What happens in a turn: TurnsDropped first, where that was so, then the events of `Engine.stream`."""
_ROOM = 512


class Conversation:
    """A chat that grows by what was answered. One turn at a time; it does not close its engine.

    history: of a chat that goes on. system: a system message, in place of the history's; it stays whatever is dropped. when_full: what is done where the chat and room for an answer do
    not fit the context, see `edgetts.conversation.fitting`. room: tokens kept for an answer; None is what one may have at
    most, but no more than 512 or a quarter of the context. `engine` may be replaced between turns by another model's.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        system: str | None = None,
        history: History | None = None,
        when_full: WhenFull = "drop",
        room: int | None = None,
    ) -> None:
        if when_full not in get_args(WhenFull):
            raise InvalidInput(
                f"when_full is {when_full!r}.", hint=f"Choose one of: {', '.join(get_args(WhenFull))}."
            )
        if room is not None and not 1 <= room < engine.session.info.context:
            raise InvalidInput(
                f"room is {room}, but it must be between 1 and the {engine.session.info.context} tokens of the context."
            )
        self.engine = engine
        self.when_full: WhenFull = when_full
        self._room = room
        self._answering = False
        self._history = history or History()
        if system is not None:
            self.system = system

    @property
    def history(self) -> History:
        """All that was said; replaced, never changed."""
        return self._history

    @history.setter
    def history(self, history: History) -> None:
        self._change(history)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, oldest first, those that the model is not shown any more included."""
        return self._history.turns

    @property
    def system(self) -> str | None:
        return self._history.system

    @system.setter
    def system(self, text: str | None) -> None:
        self._change(replace(self._history, system=text))

    def count(self) -> int:
        """Return the tokens of the chat so far as the model is shown it; 0 before the first turn."""
        return self.engine.count(self._history.messages()) if self._history.seen else 0

    def say(self, text: str, **asked: Unpack[AskedNow]) -> Iterator[ChatEvent]:
        """Say something, and yield what happens until it is answered; Finished comes last.

        asked: as for `Engine.stream`, but for system. What was answered joins the history, also where it was cancelled
        or left unread; an empty answer, and one that failed, leave it as it was. Raises what `Engine.stream` does, and
        PromptTooLong for what does not fit.
        """
        if "system" in asked:
            raise InvalidInput("A chat has one system message.", hint="Set it on the Conversation.")
        Turn(text, "")  # checked
        before = self._history
        shown, dropped = fit(
            before,
            text,
            lambda messages: self.engine.count(messages, asked.get("tools")),
            context=self.engine.session.info.context,
            room=self._room_for(asked.get("sampling")),
            when_full=self.when_full,
        )
        events = self.engine.stream(shown.messages(text), **asked)
        return self._answered(before, shown, text, events, dropped)

    def answer(self, text: str, **asked: Unpack[AskedNow]) -> Answer:
        """Say something, and return the answer. See `say`."""
        return finished(self.say(text, **asked))

    async def asay(self, text: str, **asked: Unpack[AskedNow]) -> AsyncGenerator[ChatEvent, None]:
        """Yield what `say` does, without blocking the event loop; whoever leaves early has the answer cancelled."""

        def start(cancel: Cancellation) -> Iterator[ChatEvent]:
            asked["cancel"] = cancel
            return self.say(text, **asked)

        async with aclosing(cancellable(start, asked.get("cancel"))) as events:
            async for event in events:
                yield event

    async def aanswer(self, text: str, **asked: Unpack[AskedNow]) -> Answer:
        """Say something, and return the answer, without blocking the event loop."""
        return await afinished(self.asay(text, **asked))

    def undo(self) -> Turn:
        """Take the last turn back, and return it. Raises InvalidInput where the model sees none."""
        if not self._history.seen:
            raise InvalidInput("There is no turn to take back.", hint="Say something first.")
        last = self._history.turns[-1]
        self._change(replace(self._history, turns=self._history.turns[:-1]))
        return last

    def reset(self) -> None:
        """Forget all turns; the system message stays."""
        self._change(History(self.system))

    def save(self, path: str | Path) -> None:
        """Write the chat to a file, whole or not at all. Errors: StorageError."""
        write_history(Path(path), self._history, self.engine.model)

    def load(self, path: str | Path) -> str:
        """Go on with a chat that was saved, in place of this one; return the name of the model that it was with.

        Errors: ModelNotFound, CorruptFile, BundleVersionError; then this one is as it was.
        """
        history, model = read_history(Path(path))
        self._change(history)
        return model

    def _change(self, history: History) -> None:
        if self._answering:
            raise InvalidInput("The last message is being answered.", hint="Wait for it, or cancel it.")
        self._history = history

    def _room_for(self, sampling: SamplingParams | None) -> int:
        context = self.engine.session.info.context
        if self._room is not None:
            return min(self._room, context - 1)  # another model's context may be smaller
        most = None if sampling is None else sampling.max_tokens
        return max(1, min(most or _ROOM, context // 4))

    def _answered(
        self,
        before: History,
        shown: History,
        text: str,
        events: Iterator[Event],
        dropped: TurnsDropped | None,
    ) -> Iterator[ChatEvent]:
        if self._answering or self._history is not before:
            raise InvalidInput(
                "The chat went on since this was said.", hint="Read one answer before you say something else."
            )
        self._answering, self._history = True, shown
        streamed: dict[int, str] = {}
        kept = False
        try:
            if dropped is not None:
                yield dropped
            for event in events:
                if isinstance(event, TextDelta):
                    streamed[event.sample] = streamed.get(event.sample, "") + event.text
                elif isinstance(event, Finished):
                    kept = True
                    if event.answer.text:
                        self._history = shown.adding(Turn(text, event.answer.text, _why(event.answer)))
                yield event
        except GeneratorExit:
            # Whoever read has seen this much.
            if not kept and streamed and (seen := streamed[min(streamed)]):
                self._history = shown.adding(Turn(text, seen, "cancelled"))
            raise
        finally:
            self._answering = False
            close = getattr(events, "close", None)
            if close is not None:
                close()


def _why(answer: Answer) -> FinishReason:
    """Return why the text ends that was chosen."""
    reasons = [sample.finish_reason for sample in answer.samples if sample.text == answer.text]
    return next((reason for reason in reasons if reason in ("end", "stop")), reasons[0] if reasons else "end")
