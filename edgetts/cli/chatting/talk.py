"""One chat as a person or a program has it: what is said is asked, shown, counted and saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgetts.cli import ABSTAINED, INTERRUPTED
from edgetts.cli.chatting.saving import SavePlace
from edgetts.cli.chatting.totals import Totals
from edgetts.cli.shared.interrupting import interrupts
from edgetts.errors import PromptTooLong, StorageError

if TYPE_CHECKING:
    from edgetts.answering.asked import AskedNow
    from edgetts.cli.chatting.display import Display
    from edgetts.cli.chatting.settings import Settings
    from edgetts.conversation import Conversation
    from edgetts.engine import Engine


class Talk:
    """What commands change. open_model: loads a model by name."""

    def __init__(
        self,
        conversation: Conversation,
        settings: Settings,
        place: SavePlace,
        display: Display,
        open_model: Callable[[str], Engine],
    ) -> None:
        self.conversation = conversation
        self.settings = settings
        self.place = place
        self.display = display
        self.open_model = open_model
        self.totals = Totals()
        self.leaving = False

    def ask(self, text: str) -> int:
        """Ask, and show what is answered; return what the program's exit code would be. Raises what `say` does.

        The first Ctrl-C stops the answer, the second raises KeyboardInterrupt.
        """
        from edgetts.decoding.session import Cancellation
        from edgetts.types import Finished

        cancel = Cancellation()
        asked: AskedNow = {**self.settings.asked(), "cancel": cancel}
        answer = None
        with interrupts(cancel):
            try:
                for event in self.conversation.say(text, **asked):
                    if isinstance(event, Finished):
                        answer = event.answer
                    else:
                        self.display.event(event)
            except PromptTooLong:
                if self.conversation.turns:
                    self.display.notice("/reset begins anew")
                raise
        assert answer is not None  # noqa: S101 - a stream ends with Finished
        self.totals.add(answer.usage)
        code = 0
        try:
            self.place.save(self.conversation)
        except StorageError as error:
            self.display.notice(str(error))
            code = error.exit_code
        engine = self.conversation.engine
        self.display.answered(answer, self.conversation.count(), engine.session.info.context)
        if answer.stop_reason == "cancelled":
            return INTERRUPTED
        return ABSTAINED if answer.abstained else code

    def close(self) -> None:
        """Release the model."""
        self.conversation.engine.close()
