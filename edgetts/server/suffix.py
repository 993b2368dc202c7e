"""Settings behind a model's name: `smollm2-135m-instruct:samples=5,strategy=best_of_n`.

    name[:KEY=VALUE[,KEY=VALUE]...]

A key is a field of the `edgetts` object or of its budget; a comma always begins the next key, so that a value that
needs one goes into the body. Knows names and texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgetts.near_miss import near_miss
from edgetts.server.refusing import Refusal
from edgetts.server.wanting import OWN_FIELDS

BUDGET = ("seconds", "joules", "tokens", "samples")
_WHOLE = ("tokens", "samples", "top_k")
_NUMBERS = ("seconds", "joules", "target", "risk", "min_p", "repetition_penalty")
_KEYS = (*BUDGET, *(name for name in OWN_FIELDS if name != "budget"))
_PAIR = rf"({'|'.join(_KEYS)})=[^,\s]+"
SUFFIX_PATTERN = f":{_PAIR}(,{_PAIR})*"
"""What may follow a model's name, for those who check it before they ask."""


def split_model(asked: str, model: str) -> dict[str, Any]:
    """Return the settings behind a name, as an `edgetts` object. Raises Refusal: 404 for another model, 400."""
    if asked == model:
        return {}
    if not asked.startswith(f"{model}:"):
        raise Refusal(
            404,
            f"There is no model {asked[:200]!r} here, only {model!r}.",
            param="model",
            code="model_not_found",
        )
    own: dict[str, Any] = {}
    budget: dict[str, Any] = {}
    for part in asked[len(model) + 1 :].split(","):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if key not in _KEYS or not equals or not text:
            known = near_miss(key, _KEYS) if key not in _KEYS else f"Write {key}=VALUE."
            raise _wrong(f"The model's suffix has {part[:100]!r}. {known}")
        into = budget if key in BUDGET else own
        if key in into:
            raise _wrong(f"The model's suffix gives {key!r} twice.")
        into[key] = _read(key, text)
    return own | ({"budget": budget} if budget else {})


def _read(key: str, text: str) -> Any:
    try:
        if key in _WHOLE:
            return int(text)
        if key in _NUMBERS:
            if math.isfinite(number := float(text)):
                return number
            raise ValueError(text)
    except ValueError:
        raise _wrong(f"The model's suffix gives {key!r} as {text[:60]!r}, which is no number.") from None
    if key == "cost_of_pass":
        if text not in ("true", "false"):
            raise _wrong("The model's suffix gives 'cost_of_pass' neither as true nor as false.")
        return text == "true"
    return text


def merged(suffix: Mapping[str, Any], body: Mapping[str, Any], path: str = "edgetts") -> dict[str, Any]:
    """Put both together. Raises Refusal, 400, where they contradict each other."""
    made = {name: value for name, value in body.items() if value is not None}
    for name, value in suffix.items():
        if isinstance(value, dict):
            made[name] = merged(value, made.get(name, {}), f"{path}.{name}")
        elif made.setdefault(name, value) != value:
            raise Refusal(
                400,
                f"The model's suffix says {name}={value}, but {path}.{name} is {made[name]}.",
                param=f"{path}.{name}",
            )
    return made


def _wrong(what: str) -> Refusal:
    return Refusal(400, what, param="model", code="invalid_value")
