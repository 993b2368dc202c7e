"""Write an answer as OpenAI's clients read it: choices, usage, and an `edgetts` object with what theirs has no place for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetts.server.asking import Ask
from edgetts.server.forms import Form, Json, tokens_of
from edgetts.tokenizer import Tokenizer
from edgetts.types import Answer, Plan, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgetts.chat import ToolCall

_PLAN = (
    "runtime",
    "strategy",
    "samples",
    "width",
    "rounds",
    "max_tokens",
    "stop_rule",
    "predicted_seconds",
    "source",
    "reason",
    "approach",
    "decoding",
    "temperature",
)


@dataclass(frozen=True, slots=True)
class Head:
    """What the whole answer and each of its chunks begin with. created: Unix time in seconds."""

    id: str
    created: int
    model: str
    fingerprint: str

    def write(self, kind: str) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """One choice; its sample is None where none was drawn in time."""

    text: str
    sample: Sample | None

    @property
    def finish(self) -> str:
        """stop, or length: of what a limit, a deadline or a cancellation cut; `edgetts.stop_reason` says which."""
        return "stop" if self.sample is not None and self.sample.complete else "length"


def shown(ask: Ask, answer: Answer) -> list[Shown]:
    """Return the choices of an answer: as many as were asked for."""
    if ask.selects:
        if answer.abstained:
            # Nothing was cut: it is the whole of what is said.
            ended = next((sample for sample in answer.samples if sample.complete), None)
            return [Shown("", ended)]
        chosen = [s for s in answer.samples if s.text == answer.text]
        best = next((s for s in chosen if len(s.tokens) == answer.usage.answer_tokens), None)
        return [Shown(answer.text, best or next(iter(chosen), None))]
    drawn = {sample.index: sample for sample in answer.samples}
    places = [0] * ask.choices if ask.copies else range(ask.choices)
    return [Shown(drawn[i].text, drawn[i]) if i in drawn else Shown("", None) for i in places]


def reply(ask: Ask, answer: Answer, form: Form, head: Head, tokenizer: Tokenizer) -> Json:
    """Return the whole answer."""
    choices = []
    for index, one in enumerate(shown(ask, answer)):
        text = one.text
        calls: Sequence[ToolCall] = ()
        if ask.tools is not None:
            text, calls = ask.tools.read(one.text, cut=one.finish == "length")
        finish = "tool_calls" if calls and one.finish == "stop" else one.finish
        written = [called(call.id, call.name, call.arguments) for call in calls]
        choices.append(form.choice(index, text, written, finish, logprobs(ask, one, form, tokenizer)))
    return head.write(form.whole) | {
        "choices": choices,
        "usage": usage(ask, answer),
        "edgetts": own(ask, answer),
    }


def called(id_: str, name: str, arguments: str) -> Json:
    """Return a call of a tool."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def logprobs(ask: Ask, one: Shown, form: Form, tokenizer: Tokenizer) -> Json | None:
    """Return the log-probs of a choice, where they were asked for."""
    if ask.logprobs is None or one.sample is None or not one.text:
        return None
    return form.logprobs(tokens_of(one.sample, tokenizer))


def usage(ask: Ask, answer: Answer) -> Json:
    """Return what it cost. completion_tokens are those of the choices shown; generated_tokens all that were drawn."""
    spent = answer.usage
    completion = sum(len(one.sample.tokens) for one in shown(ask, answer) if one.sample is not None)
    return {
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": spent.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": spent.cached_tokens},
        "generated_tokens": spent.generated_tokens,
        "scoring_tokens": spent.scoring_tokens,
        "samples": spent.samples,
        "seconds": spent.seconds,
        "time_to_first_token": spent.time_to_first_token,
        "joules": spent.joules,
        "joules_source": spent.joules_source,
    }


def own(ask: Ask, answer: Answer) -> Json:
    """Return what OpenAI's answers have no place for."""
    made: Json = {
        "plan": {name: getattr(answer.plan, name) for name in _PLAN},
        "answer": answer.answer,
        "confidence": answer.confidence,
        "confidence_source": answer.confidence_source,
        "samples": answer.usage.samples,
        "seconds": answer.usage.seconds,
        "joules": answer.usage.joules,
        "joules_source": answer.usage.joules_source,
        "stop_reason": answer.stop_reason,
        "stop_detail": answer.stop_detail,
        "abstained": answer.abstained,
        "abstention_reason": answer.abstention_reason,
        "seed": ask.seed,
    }
    if ask.tools is not None and ask.tools.note:
        made["tools"] = ask.tools.note
    return made


def streams(ask: Ask, plan: Plan) -> str:
    """Say when the text of a stream comes: as it is drawn, or once it is chosen."""
    waits = ask.selects and (plan.samples > 1 or ask.asked.get("risk") is not None)
    return "after selecting" if waits else "live"


def dumped(value: Any) -> bytes:
    """Return JSON as it is sent."""
    import json

    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
