"""Turn a checked body into what `Engine.astream` is asked. Knows fields and their meaning; no HTTP, no model's tokens."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgetts.answering.asked import AskedNow
from edgetts.budget import Budget
from edgetts.chat import Message, RawText
from edgetts.errors import EdgettsError, PromptTooLong
from edgetts.selection.answers import AnswerFormat
from edgetts.server.messages import messages_of
from edgetts.server.refusing import Refusal, refusal_of
from edgetts.server.settings import Settings
from edgetts.server.shape import check
from edgetts.server.suffix import merged, split_model
from edgetts.server.wanting import UNSUPPORTED, chat_schema, completion_schema
from edgetts.structure import JsonObject, JsonSchema, Structure
from edgetts.tokenizer import Tokenizer
from edgetts.types import SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetts.tools import ToolRequest

# What makes the engine choose among samples; without any of it, choices have nothing to do with each other.
_CHOOSING = ("strategy", "power", "target", "cost_of_pass", "task", "risk", "verifier")
# Verifiers and settings of strategies that read files of the machine that they run on.
_READS_FILES = ("tests", "schema")
# What sentences about a constraint that cannot be compiled speak of.
_OF_FORMS = ("schema", "pattern", "grammar", "expression")
_FILE_SETTINGS = ("progress",)


@dataclass(frozen=True, slots=True)
class Model:
    """What requests are checked against. vocab: tokens there are; template: its chat template."""

    name: str
    vocab: int
    template: str
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request asks for, and how its answer is to be written.

    choices: how many are shown; at temperature 0 all are one sample. selects: the engine chooses what is shown, as the
    only choice. logprobs: of the tokens shown, with so many alternatives; None is without.
    """

    prompt: RawText | tuple[Message, ...]
    asked: AskedNow
    choices: int
    copies: bool
    selects: bool
    stream: bool
    usage_chunk: bool
    logprobs: int | None
    seed: int
    user: str | None = None
    tools: ToolRequest | None = None

    def blamed(self, error: EdgettsError) -> str | None:
        """Return the field that the engine's error is about, as far as that can be told."""
        if isinstance(error, PromptTooLong):
            return "prompt" if isinstance(self.prompt, RawText) else "messages"
        about_form = any(word in str(error).casefold() for word in _OF_FORMS)
        if self.asked.get("constraint") is not None and about_form:
            return "response_format" if self.tools is None else "tools"
        return None


def read_chat(body: Any, model: Model, settings: Settings) -> Ask:
    """Read the body of POST /v1/chat/completions.

    Raises Refusal with the field that is wrong.
    """
    fields = _checked(body, chat_schema(settings))
    limit = fields.get("max_completion_tokens", fields.get("max_tokens"))
    if fields.get("max_tokens", limit) != limit:
        raise Refusal(400, "max_tokens and max_completion_tokens differ.", param="max_tokens")
    alternatives = fields.get("top_logprobs", 0)
    if alternatives and not fields.get("logprobs"):
        raise Refusal(400, "top_logprobs needs logprobs to be true.", param="top_logprobs")
    logprobs = alternatives if fields.get("logprobs") else None
    messages = messages_of(fields["messages"])
    ask = _ask(fields, model, messages, limit, logprobs, settings)
    return _with_tools(ask, fields, model)


def read_completion(body: Any, model: Model, settings: Settings) -> Ask:
    """Read the body of POST /v1/completions. Raises Refusal with the field that is wrong."""
    fields = _checked(body, completion_schema(settings))
    prompt = fields["prompt"]
    text = RawText(prompt if isinstance(prompt, str) else prompt[0])
    return _ask(fields, model, text, fields.get("max_tokens"), fields.get("logprobs"), settings)


def _checked(body: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something: null is as if the field were not there."""
    check(body, schema, reasons=UNSUPPORTED)
    return {name: value for name, value in body.items() if value is not None}


def _ask(
    fields: Mapping[str, Any],
    model: Model,
    prompt: RawText | tuple[Message, ...],
    limit: int | None,
    logprobs: int | None,
    settings: Settings,
) -> Ask:
    if "stream_options" in fields and not fields.get("stream"):
        raise Refusal(400, "stream_options needs stream to be true.", param="stream_options")
    own = merged(split_model(fields["model"], model.name), fields.get("edgetts", {}))
    check(own, chat_schema(settings)["properties"]["edgetts"], "edgetts")
    budget = {name: value for name, value in own.get("budget", {}).items() if value is not None}
    n = int(fields.get("n", 1))
    asks = [name for name in _CHOOSING if own.get(name) not in (None, False)]
    selects = bool(asks) or budget.get("samples", 1) > 1
    if selects and n > 1:
        what = f"edgetts.{asks[0] if asks else 'budget.samples'}"
        raise Refusal(
            400, f"{what} chooses one answer among samples, so that n must be 1, not {n}.", param="n"
        )
    if "samples" in budget and not selects and n > 1:
        raise Refusal(400, f"edgetts.budget.samples is 1, but n is {n}.", param="n")
    if settings.longest is not None and budget.setdefault("seconds", settings.longest) > settings.longest:
        raise Refusal(
            400,
            f"edgetts.budget.seconds is {budget['seconds']:g}, but this server computes {settings.longest:g} s at most.",
            param="edgetts.budget.seconds",
        )
    kept = bool(fields.get("tools")) or fields.get("response_format", {}).get("type", "text") != "text"
    if "constraining" in own and not kept:
        raise Refusal(
            400,
            "edgetts.constraining says how an answer is kept to a response_format or to tools: give one.",
            param="edgetts.constraining",
        )
    heat = fields.get("temperature")
    copies = n > 1 and heat == 0
    if not selects:
        budget["samples"] = 1 if copies else n
    if high := [token for token in fields.get("logit_bias", {}) if int(token) >= model.vocab]:
        raise Refusal(
            400, f"logit_bias names the token {high[0]}, but there are {model.vocab}.", param="logit_bias"
        )
    seed = int(fields["seed"]) if "seed" in fields else secrets.randbits(31)
    asked: AskedNow = {
        "sampling": _sampling(fields, own, limit, logprobs, seed),
        "priority": own.get("priority", "foreground"),
        "strategy": own.get("strategy") if selects else "independent",
        "power": own.get("power"),
        "target": own.get("target"),
        "cost_of_pass": bool(own.get("cost_of_pass")),
        "task": own.get("task"),
        "risk": own.get("risk"),
    }
    limits: dict[str, Any] = {name: _narrow(name, value) for name, value in budget.items()}
    with _about("edgetts.budget"):
        asked["budget"] = Budget(**limits)
    with _about("edgetts.answer_format"):
        asked["answer_format"] = AnswerFormat.parse(own.get("answer_format", "auto" if selects else "none"))
    # Who names a seed wants the same text again, whatever else is computed.
    asked["decode"] = own.get("decode", "plain" if "seed" in fields else "auto")
    _choose(asked, own)
    return Ask(
        prompt=prompt,
        asked=asked,
        choices=n,
        copies=copies,
        selects=selects,
        stream=bool(fields.get("stream")),
        usage_chunk=bool(fields.get("stream_options", {}).get("include_usage")),
        logprobs=None if logprobs is None else int(logprobs),
        seed=seed,
        user=fields.get("user"),
    )


def _sampling(
    fields: Mapping[str, Any], own: Mapping[str, Any], limit: int | None, logprobs: int | None, seed: int
) -> SamplingParams:
    stop = fields.get("stop", ())
    given: dict[str, Any] = {
        name: float(fields[name])
        for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")
        if name in fields
    }
    given |= {name: float(own[name]) for name in ("min_p", "repetition_penalty") if name in own}
    bias = fields.get("logit_bias", {})
    given |= {name: own[name] for name in ("constraining",) if name in own}
    # What else could be wrong with it was checked by the schema.
    with _about("edgetts.constraining"):
        return SamplingParams(
            seed=seed,
            top_k=int(own.get("top_k", 0)),
            max_tokens=None if limit is None else int(limit),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            logit_bias=tuple(sorted((int(token), float(value)) for token, value in bias.items())),
            top_logprobs=int(logprobs or 0),
            **given,
        )


def _choose(asked: AskedNow, own: Mapping[str, Any]) -> None:
    """Make verifier and strategy of their names, which must not reach for files of this machine."""
    verifier = own.get("verifier")
    if verifier is not None:
        from edgetts.selection.verification.registry import make_verifier

        parts = [part.split(":")[0].strip() for part in verifier.split("+")]
        if reads := [part for part in parts if part in _READS_FILES]:
            raise Refusal(
                400,
                f"edgetts.verifier names {reads[0]!r}, which reads a file; the server reads none for its clients.",
                param="edgetts.verifier",
            )
        with _about("edgetts.verifier"):
            asked["verifier"] = verifier = make_verifier(verifier)
    name = asked["strategy"]
    if isinstance(name, str):
        from edgetts.selection.strategies import make_strategy

        kind, _, rest = name.partition(":")
        keys = [item.partition("=")[0].strip() for item in rest.split(",")]
        if reads := [key for key in keys if key in _FILE_SETTINGS]:
            raise Refusal(
                400,
                f"edgetts.strategy sets {reads[0]!r}, which names a file; the server reads none for its clients.",
                param="edgetts.strategy",
            )
        if kind.strip().replace("-", "_") == "independent" and "strategy" in own:
            raise Refusal(400, "Independent samples are choices: set n.", param="edgetts.strategy")
        with _about("edgetts.strategy"):
            asked["strategy"] = make_strategy(name, verifier)


def _formatted(fields: Mapping[str, Any]) -> Structure | None:
    """Return what `response_format` keeps the answer to."""
    form = fields.get("response_format", {"type": "text"})
    if form["type"] == "json_object":
        return JsonObject()
    return JsonSchema(form["json_schema"]["schema"]) if form["type"] == "json_schema" else None


def _with_tools(ask: Ask, fields: Mapping[str, Any], model: Model) -> Ask:
    """Add what the answer is kept to, and the tools that the model may call."""
    asked, structure = ask.asked.copy(), _formatted(fields)
    given, choice = fields.get("tools", []), fields.get("tool_choice")
    if given:
        from edgetts.tools import ToolChoice, prepare
        from edgetts.tools.tool import parse_tools

        with _about("tools"):
            known = parse_tools(given)
        with _about("tool_choice"):
            ToolChoice.parse(choice, known)
        with _about("tools"):
            request = prepare(
                given,
                choice,
                model.template,
                ask.prompt,  # type: ignore[arg-type]  # a chat's
                parallel=fields.get("parallel_tool_calls", True),
                tokenizer=model.tokenizer,
            )
        if structure is not None and request.constraint is not None:
            raise Refusal(
                400,
                "An answer is either kept to a response_format or may call tools.",
                param="response_format",
            )
        asked["constraint"] = request.constraint or structure or request.after_calls
        asked["tools"] = request.tools
        return replace(ask, prompt=request.messages, asked=asked, tools=request)
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in fields and fields[name] != "none":
            raise Refusal(400, f"{name} needs tools.", param=name)
    from edgetts.tools import lay_out

    asked["constraint"] = structure
    # Calls of before are shown as the model writes them, also where its template knows none.
    laid_out = lay_out(ask.prompt, model.template)  # type: ignore[arg-type]  # a chat's
    return replace(ask, prompt=laid_out, asked=asked)


def _narrow(name: str, value: float) -> float | int:
    return float(value) if name in ("seconds", "joules") else int(value)


@contextmanager
def _about(param: str) -> Iterator[None]:
    """Name the field where what was asked for cannot be."""
    try:
        yield
    except EdgettsError as error:
        raise refusal_of(error, param) from error
