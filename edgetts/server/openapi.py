"""The server as an OpenAPI 3.1 document. What requests may hold is the very schema that they are checked by."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any, get_args

from edgetts.selection.answers.format import FormatName
from edgetts.selection.strategies import strategy_names
from edgetts.server.settings import Settings
from edgetts.server.suffix import SUFFIX_PATTERN
from edgetts.server.wanting import chat_schema, completion_schema

Json = dict[str, Any]
_SPECIAL, _ESCAPED = re.compile(r"([\\^$.|?*+()\[\]{}/])"), r"\\\1"

_TEXT, _NUMBER, _COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
_MAYBE_TEXT, _MAYBE_NUMBER = {"type": ["string", "null"]}, {"type": ["number", "null"]}


def _object(required: str, **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": required.split()}


_ERROR = _object(
    "error",
    error=_object("message type param code", message=_TEXT, type=_TEXT, param=_MAYBE_TEXT, code=_MAYBE_TEXT),
)
_USAGE = _object(
    "prompt_tokens completion_tokens total_tokens prompt_tokens_details generated_tokens samples seconds",
    prompt_tokens=_COUNT,
    completion_tokens={**_COUNT, "description": "Of the choices shown."},
    total_tokens=_COUNT,
    prompt_tokens_details=_object("cached_tokens", cached_tokens=_COUNT),
    generated_tokens={**_COUNT, "description": "Of all samples, those that are not shown too."},
    scoring_tokens=_COUNT,
    samples=_COUNT,
    seconds=_NUMBER,
    time_to_first_token=_MAYBE_NUMBER,
    joules=_MAYBE_NUMBER,
    joules_source=_MAYBE_TEXT,
)
_OWN = _object(
    "plan confidence samples seconds joules joules_source stop_reason abstained seed",
    plan={"type": "object"},
    answer=_MAYBE_TEXT,
    confidence=_MAYBE_NUMBER,
    confidence_source=_TEXT,
    samples=_COUNT,
    seconds=_NUMBER,
    joules=_MAYBE_NUMBER,
    joules_source=_MAYBE_TEXT,
    stop_reason={"enum": ["complete", "decided", "deadline", "tokens", "joules", "cancelled"]},
    stop_detail=_TEXT,
    abstained={"type": "boolean"},
    abstention_reason=_TEXT,
    seed=_COUNT,
    tools=_TEXT,
)
_FINISH = {"enum": ["stop", "length", "tool_calls"]}
_HEAD: Json = {
    "id": _TEXT,
    "created": _COUNT,
    "model": _TEXT,
    "system_fingerprint": _TEXT,
    "usage": _USAGE,
    "edgetts": _OWN,
}
_LOGPROBS = {"type": ["object", "null"]}
_MESSAGE = _object(
    "role content",
    role={"const": "assistant"},
    content=_MAYBE_TEXT,
    refusal={"type": "null"},
    tool_calls={"type": "array", "items": {"type": "object"}},
)
_CHAT = _object(
    "id object created model choices usage edgetts",
    object={"const": "chat.completion"},
    choices={
        "type": "array",
        "items": _object(
            "index message logprobs finish_reason",
            index=_COUNT,
            message=_MESSAGE,
            logprobs=_LOGPROBS,
            finish_reason=_FINISH,
        ),
    },
    **_HEAD,
)
_COMPLETION = _object(
    "id object created model choices usage edgetts",
    object={"const": "text_completion"},
    choices={
        "type": "array",
        "items": _object(
            "index text logprobs finish_reason",
            index=_COUNT,
            text=_TEXT,
            logprobs=_LOGPROBS,
            finish_reason=_FINISH,
        ),
    },
    **_HEAD,
)
_MODEL = _object(
    "id object created owned_by", id=_TEXT, object={"const": "model"}, created=_COUNT, owned_by=_TEXT
)
_MODELS = _object("object data", object={"const": "list"}, data={"type": "array", "items": _MODEL})
_HEALTH = _object("status", status={"enum": ["ok", "loading", "failed", "stopping"]})

_REFUSALS = {
    "400": "Something in the request cannot be; `param` names it.",
    "404": "There is no such model.",
    "408": "The request came too slowly.",
    "413": "The body is too large.",
    "415": "The body is not said to be JSON.",
    "429": "Too much is under way; Retry-After says when to come again.",
    "501": "An optional package is not installed.",
    "503": "The model is being loaded, or memory is short.",
    "500": "The model's runtime failed.",
}


def describe(settings: Settings, model: str | None = None) -> Json:
    """Return the document. model: the one that is served, where it is loaded."""
    chat, completion = chat_schema(settings), completion_schema(settings)
    for schema in (chat, completion):
        for name, pattern in _patterns().items():
            schema["properties"]["edgetts"]["properties"][name]["pattern"] = pattern
        if model is not None:
            schema["properties"]["model"]["pattern"] = f"^{_SPECIAL.sub(_ESCAPED, model)}({SUFFIX_PATTERN})?$"
    body = {
        "/v1/chat/completions": ("chat", "Answer the last message of a chat.", chat, _CHAT),
        "/v1/completions": ("complete", "Continue a text.", completion, _COMPLETION),
    }
    paths: Json = {
        "/health": {
            "get": _get(
                "health", "Whether the model is ready.", _HEALTH, settings, closed=False, more=("503",)
            )
        },
        "/metrics": {"get": _get("metrics", "Counters for Prometheus.", None, settings)},
        "/openapi.json": {"get": _get("openapi", "This document.", {"type": "object"}, settings)},
        "/v1/models": {
            "get": _get("models", "The models that are served.", _MODELS, settings, more=("503",))
        },
        "/v1/models/{model}": {
            "get": _get("model", "One of them.", _MODEL, settings, more=("404", "503")),
            "parameters": [
                {
                    "name": "model",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                }
            ],
        },
    }
    for path, (name, summary, wanted, answer) in body.items():
        paths[path] = {
            "post": {
                "operationId": name,
                "summary": summary,
                "requestBody": {"required": True, "content": {"application/json": {"schema": wanted}}},
                "responses": {
                    "200": {
                        "description": "The answer; with `stream`, chunks of it as server-sent events.",
                        "content": {
                            "application/json": {"schema": answer},
                            "text/event-stream": {},
                        },
                    },
                    **_refusals(tuple(_REFUSALS), settings),
                },
            }
        }
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "edgetts",
            "version": version("edgetts"),
            "summary": "Language models on this device.",
        },
        "paths": paths,
    }
    if settings.keys:
        document["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"key": []}]
        paths["/health"]["get"]["security"] = []
    return document


def _patterns() -> dict[str, str]:
    """Return the forms of fields whose names are checked where they are known, with hints for misspelt ones."""
    strategies = "|".join(name.replace("_", "[-_]") for name in strategy_names() if name != "independent")
    return {
        "strategy": f"^({strategies})(:.*)?$",
        "verifier": r"^(arithmetic|examples|program|regex:.+)(\+(arithmetic|examples|program|regex:.+))*$",
        "answer_format": f"^({'|'.join(get_args(FormatName))})(:.+)?$",
    }


def _get(
    name: str,
    summary: str,
    answer: Json | None,
    settings: Settings,
    *,
    closed: bool = True,
    more: tuple[str, ...] = (),
) -> Json:
    content: Json = (
        {"text/plain": {"schema": {"type": "string"}}}
        if answer is None
        else {"application/json": {"schema": answer}}
    )
    told = _refusals(more, settings, closed=closed)
    if name == "health":
        told["503"] = {"description": "Not ready.", "content": content}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}, **told},
    }


def _refusals(statuses: tuple[str, ...], settings: Settings, *, closed: bool = True) -> Json:
    told = {status: _REFUSALS[status] for status in statuses}
    told["421"] = "The Host header names another host."
    told["403"] = "The Origin header names a web page that is not let in."
    if settings.keys and closed:
        told["401"] = "The API key is missing or wrong."
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": what, "content": content} for status, what in sorted(told.items())}
