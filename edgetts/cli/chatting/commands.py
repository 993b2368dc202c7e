"""The commands of a chat: lines that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgetts.errors import InvalidInput
from edgetts.near_miss import near_miss

if TYPE_CHECKING:
    from edgetts.cli.chatting.settings import Settings
    from edgetts.cli.chatting.talk import Talk


@dataclass(frozen=True, slots=True)
class Command:
    """A command, what it takes, and what it does."""

    takes: str
    does: str
    run: Callable[[Talk, str], int | None]
    """Returns what the exit code would be, where it asked the model something."""


def obey(talk: Talk, line: str) -> int:
    """Do what a line says, and return what the exit code would be. Raises InvalidInput for no command, and what it raises."""
    name, _, argument = line.partition(" ")
    name = ALIASES.get(name, name)
    command = COMMANDS.get(name)
    if command is None:
        raise InvalidInput(
            f"There is no command {name[:80]!r}.",
            hint=f"{near_miss(name, COMMANDS, '/help lists them.')} A message that begins with a slash is written "
            "with two.",
        )
    argument = argument.strip()
    if argument and not command.takes:
        raise InvalidInput(f"{name} takes nothing, not {argument[:80]!r}.")
    code = command.run(talk, argument)
    if code is None:
        talk.display.done(name)
    return code or 0


def _model(talk: Talk, name: str) -> None:
    if not name:
        talk.display.notice(f"the model is {talk.conversation.engine.model}; /model NAME loads another")
        return
    # The new one first: where it cannot be loaded, the chat goes on with the old one.
    try:
        engine = talk.open_model(name)
    except KeyboardInterrupt:
        raise InvalidInput("Loading was interrupted.", hint="The model is as before.") from None
    old, talk.conversation.engine = talk.conversation.engine, engine
    old.close()
    turns = len(talk.conversation.history.seen)
    kept = (
        ""
        if not turns
        else f"; it goes on with the chat so far ({_turns(turns)}), which it reads at the next message"
    )
    talk.display.notice(f"{engine.model} is loaded{kept}")


def _set(talk: Talk, settings: Settings) -> None:
    """Take settings that the engine can do; what it cannot is said now and not at the next message."""
    asked = {name: value for name, value in settings.asked().items() if name != "explain"}
    talk.conversation.engine.plan("Hello", **asked)  # type: ignore[arg-type]  # the same keywords
    talk.settings = settings
    talk.display.notice(settings.told())


def _budget(talk: Talk, text: str) -> None:
    if not text:
        talk.display.notice(talk.settings.told())
    else:
        _set(talk, talk.settings.limited(text))


def _samples(talk: Talk, text: str) -> None:
    if not text:
        talk.display.notice(talk.settings.told())
    else:
        _set(talk, talk.settings.sampled(text))


def _strategy(talk: Talk, text: str) -> None:
    if not text:
        there = ", ".join(talk.conversation.engine.strategies)
        talk.display.notice(f"{talk.settings.told()}; there are {there}")
    else:
        _set(talk, talk.settings.choosing(text))


def _system(talk: Talk, text: str) -> None:
    if text:
        talk.conversation.system = None if text == "off" else text
    told = talk.conversation.system
    talk.display.notice("there is no system message" if told is None else f"the system message is: {told}")


def _save(talk: Talk, text: str) -> None:
    if text:
        talk.place.name(Path(text).expanduser())
    if talk.place.path is None:
        raise InvalidInput("No file is named.", hint="Write /save FILE.")
    talk.place.save(talk.conversation)
    turns = _turns(len(talk.conversation.turns))
    talk.display.notice(f"{turns} saved to {talk.place.path}, and every further one will be")


def _load(talk: Talk, text: str) -> None:
    if not text:
        raise InvalidInput("No file is named.", hint="Write /load FILE.")
    path = Path(text).expanduser()
    talk.place.save(talk.conversation)  # what was said so far stays in its own file
    model = talk.conversation.load(path)
    talk.place.loaded(path)
    talk.display.notice(loaded_sentence(talk, path, model))


def loaded_sentence(talk: Talk, path: Path, model: str) -> str:
    """Say what chat goes on, and with which model if that is another one."""
    there = talk.conversation.engine.model
    other = "" if model == there else f"; it was with {model}, and goes on with {there}"
    hidden = talk.conversation.history.dropped
    dropped = f", {hidden} of them dropped" if hidden else ""
    saved = "" if talk.place.path is None else f"; every further turn is saved to {talk.place.path}"
    return f"{_turns(len(talk.conversation.turns))} loaded from {path}{dropped}{other}{saved}"


def _reset(talk: Talk, argument: str) -> None:  # noqa: ARG001 - a command's signature
    talk.conversation.reset()
    place = talk.place.path
    saved = "" if place is None else f"; {place} will hold what comes only"
    system = "" if talk.conversation.system is None else "; the system message stays"
    talk.display.notice(f"the chat begins anew{system}{saved}")


def _stats(talk: Talk, argument: str) -> None:  # noqa: ARG001 - a command's signature
    chat = talk.conversation
    context, history = chat.engine.session.info.context, chat.history
    dropped = f", {history.dropped} of them dropped" if history.dropped else ""
    lines = [
        *talk.totals.lines(),
        f"context: {chat.count()} of {context} tokens filled by {_turns(len(history.turns))}{dropped}; "
        f"when it is full: {chat.when_full}",
        f"model: {chat.engine.model}; {talk.settings.told()}",
    ]
    talk.display.notice("\n".join(lines))


def _retry(talk: Talk, argument: str) -> int:  # noqa: ARG001 - a command's signature
    from edgetts.types import SPREAD_TEMPERATURE

    if not talk.conversation.history.seen:
        raise InvalidInput("There is nothing to answer again.", hint="Say something first.")
    before = talk.conversation.history
    sampling = talk.settings.sampling
    # The same seed, and no temperature, would say the same again.
    heat = sampling.temperature or SPREAD_TEMPERATURE
    talk.settings = replace(
        talk.settings, sampling=replace(sampling, seed=sampling.seed + 1, temperature=heat)
    )
    seed = talk.settings.sampling.seed
    try:
        question = talk.conversation.undo().question
        talk.display.notice(f"another answer in place of the last: seed {seed}, temperature {heat:g}")
        return talk.ask(question)
    finally:
        talk.settings = replace(talk.settings, sampling=replace(sampling, seed=seed))
        if len(talk.conversation.turns) < len(before.turns):  # no answer came of it
            talk.conversation.history = before


def _help(talk: Talk, argument: str) -> None:  # noqa: ARG001 - a command's signature
    rows = [(f"{name} {command.takes}".rstrip(), command.does) for name, command in COMMANDS.items()]
    rows += [
        ('"""', "begins and ends a message of several lines; so does a backslash at the end of a line"),
        ("//", "begins a message that begins with a slash"),
        ("Ctrl-C", "stops the answer; what there is of it is kept"),
        ("Ctrl-D", "leaves, as /quit does"),
    ]
    width = max(len(name) for name, _ in rows)
    talk.display.notice("\n".join(f"{name:{width}}  {does}" for name, does in rows))


def _quit(talk: Talk, argument: str) -> None:  # noqa: ARG001 - a command's signature
    talk.leaving = True


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


COMMANDS = {
    "/model": Command("[NAME]", "goes on with another model; the chat stays", _model),
    "/budget": Command("[5s|20J|200t|off]", "limits seconds, joules or tokens of an answer", _budget),
    "/samples": Command("[N|off]", "draws so many answers and chooses one", _samples),
    "/strategy": Command("[NAME|off]", "names what samples are spent on", _strategy),
    "/system": Command("[TEXT|off]", "sets the system message", _system),
    "/save": Command("[FILE]", "saves the chat, and every further turn", _save),
    "/load": Command("FILE", "goes on with a chat that was saved", _load),
    "/reset": Command("", "forgets what was said", _reset),
    "/retry": Command("", "answers the last message again, otherwise", _retry),
    "/stats": Command("", "tells what answers took, and how full the context is", _stats),
    "/help": Command("", "lists the commands", _help),
    "/quit": Command("", "leaves", _quit),
}
ALIASES = {"/exit": "/quit", "/bye": "/quit", "/?": "/help", "/clear": "/reset"}
