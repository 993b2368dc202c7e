"""`edgetts chat`: talk with a model on this device."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli.shared.asking import aim_options, is_terminal, read_aim
from edgetts.cli.shared.budget import budget_options, read_budget, read_sampling
from edgetts.cli.shared.choosing import choosing_options, read_choosing
from edgetts.cli.shared.device import device_options, read_device
from edgetts.cli.shared.opening import open_told

if TYPE_CHECKING:
    from edgetts.cli.chatting.settings import Settings
    from edgetts.engine import Engine


@click.command("chat")
@click.argument("model", required=False)
@click.option("--system", help="A system message.")
@click.option(
    "--context-full",
    type=click.Choice(["drop", "refuse"]),
    default="drop",
    show_default=True,
    help="Where the chat and room for an answer do not fit the model's context any more: drop the oldest turns, or "
    "refuse the message.",
)
@click.option(
    "--load",
    "load_from",
    type=click.Path(path_type=Path),
    help="Go on with a chat that was saved to this file.",
)
@click.option(
    "--save",
    "save_to",
    type=click.Path(path_type=Path),
    help="Save the chat to this file after every turn. One that is there is written only if it is the one of --load.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="For programs: print one JSON object for each line read."
)
@click.option(
    "--history/--no-history",
    default=True,
    show_default=True,
    help="Keep the lines typed in a terminal for the next chat, in a file that only you can read.",
)
@budget_options
@aim_options
@click.option("--repetition-penalty", type=float, default=1.0, help="Above 1: avoid tokens seen before.")
@click.option("--stop", multiple=True, help="Text that ends a sample; may be repeated.")
@click.option(
    "--seed",
    type=int,
    help="Same seed, same draws; where some of a prompt was read before, a near tie may tip. Default: 0, and --decode auto.",
)
@click.option(
    "--answer",
    "answer_format",
    default="auto",
    show_default=True,
    help="How to find the answer to vote on where several samples are drawn; as in edgetts ask.",
)
@choosing_options
@click.option("--quantize", help="How to store weights if a conversion is needed: keep, int4, int8 or fp32.")
@click.option(
    "--decode",
    "mode",
    help="auto verifies guesses at coming tokens where that is faster, speculative always, plain never. Default: "
    "auto; plain where --seed is given.",
)
@click.option(
    "--draft-model", help="A GGUF file of the same vocabulary whose guesses are verified (extra llamacpp)."
)
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="onnx, llamacpp (extra llamacpp), npu, or auto, as in edgetts ask.",
)
@device_options
@click.option("--threads", type=int, help="Threads. Default: one per physical core.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
def command(model: str | None, **options: Any) -> None:
    """Talk with MODEL: a known model, a path, or hf:owner/repo/file.gguf. Default: SmolLM2-135M.

    /help lists the commands. What is piped in is answered line by line: answers go to stdout, all else to stderr.
    """
    # Everything that can be wrong is said before anything is loaded.
    settings = _settings(options)
    load_options = read_device(options)
    if options["threads"] is not None:
        load_options["threads"] = options["threads"]

    from edgetts.cli.chatting.commands import COMMANDS, loaded_sentence
    from edgetts.cli.chatting.display import JsonDisplay, TextDisplay
    from edgetts.cli.chatting.lines import piped_lines, typed_line
    from edgetts.cli.chatting.loop import run
    from edgetts.cli.chatting.past_lines import line_editing
    from edgetts.cli.chatting.saving import SavePlace
    from edgetts.cli.chatting.talk import Talk
    from edgetts.conversation import Conversation, History, check_text
    from edgetts.conversation.files import read_history
    from edgetts.store.home import find_home

    place, history, was = SavePlace(), History(), ""
    if options["system"] is not None:
        check_text(options["system"], "system message")
    if options["load_from"] is not None:
        history, was = read_history(options["load_from"])
        place.loaded(options["load_from"])
    if options["save_to"] is not None:
        place.name(options["save_to"])

    opener = _opener(options, load_options)
    conversation = Conversation(
        opener(model), system=options["system"], history=history, when_full=options["context_full"]
    )
    talk = Talk(conversation, settings, place, JsonDisplay() if options["as_json"] else TextDisplay(), opener)
    interactive = is_terminal(sys.stdin) and not options["as_json"]
    try:
        if options["load_from"] is not None:
            talk.display.notice(loaded_sentence(talk, options["load_from"], was))
        try:
            if interactive:
                click.echo(f"{conversation.engine.model}: /help lists the commands, Ctrl-D leaves.", err=True)
                kept = find_home().root if options["history"] else None
                with _ctrl_c_raises(), line_editing(kept, list(COMMANDS)):
                    code = run(talk, typed_line, interactive=True)
            else:
                code = run(talk, piped_lines(), interactive=False)
        finally:
            place.save(conversation)
    finally:
        talk.close()
    click.get_current_context().exit(code)


def _settings(options: dict[str, Any]) -> Settings:
    from edgetts.cli.chatting.settings import Settings
    from edgetts.selection.answers import AnswerFormat
    from edgetts.types import DecodeParams

    choosing, seed = read_choosing(options), options["seed"]
    return Settings(
        budget=read_budget(options),
        sampling=read_sampling(
            options,
            repetition_penalty=options["repetition_penalty"],
            seed=seed or 0,
            stop=options["stop"],
        ),
        strategy=choosing.pop("strategy"),
        verifier=choosing.pop("verifier"),
        calibration=choosing.pop("calibration"),
        more={
            **choosing,
            **read_aim(options),
            "answer_format": AnswerFormat.parse(options["answer_format"]),
            # Who names a seed wants the same text again, whatever the device is busy with.
            "decode": DecodeParams(mode=options["mode"] or ("auto" if seed is None else "plain")),
        },
    )


def _opener(options: dict[str, Any], load_options: dict[str, Any]) -> Callable[[str | None], Engine]:
    """Return what loads a model, telling a person how far it is."""
    return lambda model: open_told(model, options, load_options)


@contextmanager
def _ctrl_c_raises() -> Iterator[None]:
    """Have Ctrl-C interrupt the prompt, even where the program was started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
