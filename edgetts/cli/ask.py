"""`edgetts ask`: one question, one answer, within a budget."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetts.cli import ABSTAINED, INTERRUPTED
from edgetts.cli.shared.asking import aim_options, is_terminal, read_aim, read_question
from edgetts.cli.shared.budget import budget_options, read_budget, read_sampling
from edgetts.cli.shared.choosing import choosing_options, read_choosing
from edgetts.cli.shared.device import device_options, read_device
from edgetts.cli.shared.interrupting import interrupts
from edgetts.cli.shared.opening import open_told
from edgetts.cli.shared.structuring import answers_in, read_structure, structure_options
from edgetts.device import check_draft
from edgetts.errors import InvalidInput

if TYPE_CHECKING:
    from edgetts.replay.tracing import DecisionTrace
    from edgetts.types import Answer, DecodeParams, Event, Plan, Sample


@click.command("ask")
@click.argument("question", required=False)
@click.option(
    "--model", "-m", help="A known model, a path, or hf:owner/repo/file.gguf. Default: SmolLM2-135M."
)
@budget_options
@aim_options
@click.option("--repetition-penalty", type=float, default=1.0, help="Above 1: avoid tokens seen before.")
@click.option("--stop", multiple=True, help="Text that ends a sample; may be repeated.")
@click.option("--seed", type=int, help="Same seed, same samples. Default: 0, and --decode auto.")
@click.option("--system", help="A system message.")
@click.option(
    "--answer",
    "answer_format",
    default="auto",
    show_default=True,
    help="How to find the answer to vote on: auto, number[:UNIT], choice[:A-J], yes-no, set, expression (extra math), json, "
    "code[:LANGUAGE], boxed, regex:PATTERN, text, none.",
)
@choosing_options
@structure_options
@click.option("--quantize", help="How to store weights if a conversion is needed: keep, int4, int8 or fp32.")
@click.option(
    "--decode",
    "mode",
    help="auto verifies guesses at coming tokens where that is faster, speculative always, plain never. Quantised "
    "weights may then choose another of two nearly equal tokens. Default: auto; plain where --seed is given.",
)
@click.option(
    "--draft",
    "drafters",
    help="Who may guess, with commas: ngram, recurrent, parallel, exit (these three where the model has "
    "them, see edgetts exits), model (with --draft-model). Default: ngram and the best of the others.",
)
@click.option(
    "--draft-model", help="A GGUF file of the same vocabulary whose guesses are verified (extra llamacpp)."
)
@click.option("--draft-length", type=int, help="Tokens guessed in one pass at most, 1 to 8.")
@click.option(
    "--accept",
    "acceptance",
    help="exact: the tokens of plain decoding. rejection: others, drawn from the same distribution. typical: "
    "lossy, takes any likely guess. Default: exact.",
)
@click.option(
    "--early-exit",
    help="Lossy: let tokens leave the network early. agreement=0.98 keeps that share of them, as measured on "
    "held-out text; or name a criterion: confidence=0.9, saturation=0.99, q-exit=0.9, schedule=64.",
)
@click.option(
    "--runtime",
    default="auto",
    show_default=True,
    help="onnx; llamacpp, which runs GGUF files as they are (extra llamacpp); npu, which runs static bundles; auto: "
    "whichever of those that are installed and have the model is predicted to be faster at this question.",
)
@device_options
@click.option("--threads", type=int, help="Threads. Default: one per physical core.")
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option(
    "--explain", is_flag=True, help="Print what was predicted beside what came of it, and what was decided."
)
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append what was decided, with times of passes and ends of samples, to this file, for edgetts replay.",
)
@click.option("--trace-text", is_flag=True, help="With --trace: write the question, too.")
@click.option("--show-samples", is_flag=True, help="Print every sample, not only the chosen one.")
@click.option(
    "--stream/--no-stream",
    default=None,
    help="Print text as it is drawn (one sample only). Default: when stdout is a terminal.",
)
def command(question: str | None, **options: Any) -> None:
    """Answer QUESTION, or what is piped in, on this device.

    The answer goes to stdout; the plan and what was spent go to stderr.
    """
    from edgetts.selection.answers import AnswerFormat

    # Everything that can be wrong is said before anything is loaded.
    budget = read_budget(options)
    sampling = read_sampling(
        options,
        repetition_penalty=options["repetition_penalty"],
        seed=options["seed"] or 0,
        stop=options["stop"],
        constraining=options["constraining"] or "mask",
    )
    structure = read_structure(options)
    answer_format = AnswerFormat.parse(answers_in(structure, options["answer_format"]))
    decode = _decode(options)
    choosing, aim = read_choosing(options), read_aim(options)
    settings = read_device(options)
    check_draft(options["model"], decode.length)
    prompt = read_question(question, "ask")
    watcher = _watcher(options["trace"], options["trace_text"])

    from edgetts.decoding.session import Cancellation

    if options["threads"] is not None:
        settings["threads"] = options["threads"]
    if decode.stops_at_cuts:
        if options["runtime"] == "llamacpp":
            raise InvalidInput(
                "llama.cpp runs no first layers alone, which leaving early and the drafter exit need.",
                hint="Take --runtime onnx.",
            )
        settings["by_segment"] = True
    engine = open_told(options["model"], options, settings)
    cancel = Cancellation()
    with engine, interrupts(cancel):
        events = engine.stream(
            prompt,
            budget=budget,
            sampling=sampling,
            system=options["system"],
            answer_format=answer_format,
            decode=decode,
            constraint=structure,
            **choosing,
            **aim,
            explain=options["explain"],
            cancel=cancel,
            watcher=watcher,
        )
        stream = is_terminal(sys.stdout) if options["stream"] is None else options["stream"]
        answer = _show(events, stream=stream and not options["as_json"])
    if watcher is not None:
        watcher.close()
        if watcher.trouble is not None:
            click.echo(f"edgetts: {watcher.trouble}", err=True)
    if options["as_json"]:
        import json

        click.echo(json.dumps(answer.to_json()))
    elif not stream and not answer.abstained:
        click.echo(answer.text)
    if options["show_samples"] and not options["as_json"]:
        _show_samples(answer)
    _show_usage(answer)
    if options["explain"]:
        from edgetts.cli.shared.explaining import compared_lines

        click.echo("\n".join(compared_lines(answer)), err=True)
    if answer.stop_reason == "cancelled":
        click.get_current_context().exit(INTERRUPTED)
    if answer.abstained:
        click.echo(f"edgetts: no answer is given: {answer.abstention_reason}.", err=True)
        click.get_current_context().exit(ABSTAINED)


def _watcher(trace: Path | None, text: bool) -> DecisionTrace | None:
    if trace is None:
        if text:
            raise InvalidInput("--trace-text says what a trace holds.", hint="Name its file with --trace.")
        return None
    from edgetts.replay.tracing import DecisionTrace

    return DecisionTrace(trace, text=text)


def _decode(options: dict[str, Any]) -> DecodeParams:
    from edgetts.types import DecodeParams, LeaveEarly

    named, leaving = options["drafters"], options["early_exit"]
    asked = any(options[name] is not None for name in ("drafters", "draft_length", "acceptance"))
    return DecodeParams(
        # Who names a seed wants the same text again, whatever the device is busy with.
        mode=options["mode"] or ("plain" if options["seed"] is not None and not asked else "auto"),
        drafters=None if named is None else tuple(name.strip() for name in named.split(",")),
        length=options["draft_length"],
        acceptance=options["acceptance"] or "exact",
        early_exit=None if leaving is None else LeaveEarly.parse(leaving),
    )


def _show(events: Iterator[Event], *, stream: bool) -> Answer:
    from edgetts.types import Finished, PlanMade, SampleDone, StepsTaken, TextDelta

    progress = is_terminal(sys.stderr)
    for event in events:
        if isinstance(event, PlanMade):
            click.echo(_plan_line(event.plan), err=True)
        elif isinstance(event, SampleDone) and progress and event.planned > 1:
            click.echo(f"sample {event.done} of {event.planned}{_judged(event.sample)}", err=True)
        elif isinstance(event, StepsTaken) and progress:
            click.echo(f"step {event.depth}: {event.open} open, {event.ended} ended", err=True)
        elif isinstance(event, TextDelta) and stream:
            click.echo(event.text, nl=False)
            sys.stdout.flush()
        elif isinstance(event, Finished):
            if stream and not event.answer.abstained:
                click.echo()
            return event.answer
    raise AssertionError("a stream ends with Finished")


def _plan_line(plan: Plan) -> str:
    many = f"{plan.samples} samples, {plan.width} at a time" if plan.samples > 1 else "one sample"
    if plan.samples > 1 and plan.strategy != "self_consistency":
        many = f"{plan.strategy} over {many}"
    about = (
        "" if plan.predicted_seconds is None else f", about {plan.predicted_seconds:.1f} s ({plan.source})"
    )
    if plan.joules is not None:
        about += f" and {plan.joules.value:.0f} J"
    if plan.success is not None and plan.samples > 1:
        about += f", right with probability {plan.success.value:.2f} ({plan.success_source})"
    others = ", ".join(
        f"{runtime} {seconds:.1f} s"
        for runtime, seconds in plan.considered.items()
        if runtime != plan.runtime
    )
    where = f"{plan.runtime} (not {others})" if others else plan.runtime
    return f"plan: {many} of at most {plan.max_tokens} tokens on {where}{about}; {plan.reason}"


def _show_samples(answer: Answer) -> None:
    for sample in answer.samples:
        click.echo(
            f"\n--- sample {sample.index}{_judged(sample)} ({sample.finish_reason}, {len(sample.tokens)} tokens)"
        )
        click.echo(sample.text)


def _judged(sample: Sample) -> str:
    """Say what a sample answers, and what a verifier and a scorer say of it."""
    said = "no answer" if sample.answer is None else " ".join(sample.answer.split())[:80]
    if sample.passed is not None:
        said += f", {'passed' if sample.passed else 'failed'}"
        said += f" ({sample.verdict})" if sample.verdict else ""
    return f": {said}" + ("" if sample.score is None else f", score {sample.score:.2f}")


def _show_usage(answer: Answer) -> None:
    usage = answer.usage
    why = answer.stop_reason + (f" ({answer.stop_detail})" if answer.stop_detail else "")
    parts = [f"{usage.seconds:.2f} s", f"stopped: {why}"]
    if usage.joules is not None:
        parts.insert(1, f"{usage.joules:.1f} J ({usage.joules_source})")
    parts.append("1 sample" if usage.samples == 1 else f"{usage.samples} samples")
    parts.append(f"{usage.generated_tokens} tokens for a prompt of {usage.prompt_tokens}")
    if usage.scoring_tokens:
        parts.append(f"{usage.scoring_tokens} more to judge texts")
    if usage.tokens_per_second is not None:
        parts.append(f"{usage.tokens_per_second:.1f} tokens/s")
    if usage.time_to_first_token is not None:
        parts.append(f"first token after {usage.time_to_first_token:.2f} s")
    parts.append(f"peak memory {usage.peak_memory_bytes / 1e6:.0f} MB")
    if usage.speculation is not None:
        told = usage.speculation
        guesses = sum(told.drafted)
        if guesses:
            right = sum(told.accepted)
            parts.append(f"{right} of {guesses} guesses right, {told.tokens_per_pass:.2f} tokens a pass")
    if usage.early_exits is not None:
        early = usage.early_exits
        parts.append(f"{sum(early.left.values())} of {early.tokens} tokens left early")
        parts.append(f"{early.mean_depth:.1f} layers behind a token")
        if early.agreement is not None:
            parts.append(f"{early.agreement:.0%} of {early.compared} compared as at full depth")
    if answer.confidence is not None:
        parts.append(f"confidence {answer.confidence:.2f} by {answer.confidence_source}")
    if not answer.samples:
        parts.append("no token was drawn in time")
    click.echo("; ".join(parts), err=True)
