"""Check and gather what is asked, before it is planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edgetts.answering.adapting import adapted
from edgetts.answering.approaches import Asking
from edgetts.answering.choosing import Choosing
from edgetts.answering.planning import Knowledge, Posed, Wishes, drawings_of, drawn_key
from edgetts.answering.resolving import resolve
from edgetts.budget import Budget
from edgetts.chat import Message, RawText
from edgetts.control.success.model import Approach
from edgetts.decoding.constraint import Constraint
from edgetts.decoding.session import Capabilities
from edgetts.errors import InvalidInput
from edgetts.profiles.device import PowerMode
from edgetts.selection.answers import AnswerFormat
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.strategies import Strategy
from edgetts.selection.verification.verifier import Verdict, Verifier
from edgetts.types import DecodeMode, DecodeParams, SamplingParams

Prompt = str | RawText | Sequence[Message]


def pose(
    prompt: Prompt,
    asking: Asking,
    knowledge: Knowledge,
    capabilities: Capabilities,
    *,
    budget: Budget | None = None,
    sampling: SamplingParams | None = None,
    system: str | None = None,
    answer_format: AnswerFormat | str = "auto",
    decode: DecodeParams | DecodeMode = "plain",
    strategy: Strategy | str | None = None,
    verifier: Verifier | Callable[[str], bool | float | Verdict | None] | str | None = None,
    calibration: Calibration | str | Path | None = None,
    risk: float | None = None,
    power: PowerMode | None = None,
    target: float | None = None,
    task: str | None = None,
    cost_of_pass: bool = False,
    explain: bool = False,
    constraint: Constraint | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> Posed:
    """Check everything that was asked for, and encode the question. See `Engine.answer`; explain: as in `Wishes`."""
    if constraint is not None and not callable(getattr(constraint, "start", None)):
        raise InvalidInput(
            f"The constraint is {type(constraint).__name__}, which is none.",
            hint="Take one of edgetts.structure: JsonSchema({...}), JsonObject(), Regex(...) or Grammar(...).",
        )
    sampling = sampling or SamplingParams()
    form = AnswerFormat.parse(answer_format) if isinstance(answer_format, str) else answer_format
    if not isinstance(decode, DecodeParams):
        decode = DecodeParams(decode)
    choosing = resolve(strategy, verifier, calibration, risk, form, sampling, decode, capabilities)
    wishes = Wishes(
        budget or Budget(),
        sampling,
        decode,
        power,
        target,
        risk,
        task,
        str(form),
        explain,
        cost_of_pass,
    )
    if isinstance(prompt, RawText):
        if system or tools:
            raise InvalidInput(
                "A text that is to be continued as it stands has no system message and no tools.",
                hint="Ask in messages, or leave them out.",
            )
        encode = partial(asking.encode_raw, prompt.text)
        messages = [Message("user", prompt.text)]
    else:
        messages = _messages(prompt, system)
        if tools:
            from edgetts.tools.tool import parse_tools  # few questions have any

            parse_tools(tools)
        encode = partial(asking.encode, messages, tools)
    posed = _gather(messages, wishes, choosing, asking, knowledge, encode)
    return replace(posed, constraint=constraint)


def _gather(
    messages: Sequence[Message],
    wishes: Wishes,
    choosing: Choosing,
    asking: Asking,
    knowledge: Knowledge,
    encode: Callable[[Approach], list[int]],
) -> Posed:
    """Encode a question in each way that may pay, and gather what is known of it.

    The model is asked for the answer alone only where that was measured, or where its template can do so.
    """
    terms = knowledge.terms(wishes, abstains=choosing.abstention is not None)
    # Of one sample that nothing limits there is nothing to choose.
    choice = terms.free or wishes.task is not None or wishes.explain or terms.limited
    success = knowledge.success(wishes.task, wishes.answer_format) if knowledge.success and choice else None
    if success is not None and knowledge.progress is not None:
        choosing = adapted(choosing, knowledge.progress(success))
    ways: list[Approach] = ["reason"]
    measured = any(one.approach == "direct" for one in drawings_of(success))
    if success is not None and (asking.switches or measured) and not choosing.steps:
        ways.append("direct")
    prompts = {way: encode(way) for way in ways}
    approaches = tuple(knowledge.asked(way, len(tokens), wishes, success) for way, tokens in prompts.items())
    expected = knowledge.drawn.share(drawn_key(wishes, choosing))
    return Posed(messages, wishes, choosing, terms, success, approaches, prompts, expected)


def _messages(prompt: str | Sequence[Message], system: str | None) -> list[Message]:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise InvalidInput("The prompt is empty.", hint="Ask something.")
        messages = [Message("user", prompt)]
    else:
        try:
            messages = [*prompt]
        except TypeError:
            raise InvalidInput(
                f"The question is {type(prompt).__name__}, but it must be text or messages.",
                hint="For example: engine.answer('Why is the sky blue?').",
            ) from None
        if not messages:
            raise InvalidInput("There are no messages.", hint="Pass at least one from the user.")
        if not all(isinstance(message, Message) for message in messages):
            raise InvalidInput(
                "A chat's messages must be edgetts.Message.", hint="For example: Message('user', 'Hello')."
            )
        # A tool may have returned nothing.
        if messages[-1].role != "tool" and not messages[-1].content.strip():
            raise InvalidInput("The last message is empty.", hint="Ask something.")
    return [Message("system", system), *messages] if system else messages
