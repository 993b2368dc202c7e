"""Read facts out of a text as JSON that a schema describes, and show what cannot be relied on.

python examples/structured.py "Anna, 31, moved from Turin to Lisbon."
"""

from __future__ import annotations

import json
import sys

import edgetts
from edgetts.engine import Engine
from edgetts.structure import JsonSchema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": ["integer", "null"], "minimum": 0, "maximum": 130},
        "city": {"type": "string", "maxLength": 40},
    },
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}


def extract(engine: Engine, text: str, samples: int = 3) -> dict[str, object] | None:
    """Return what the model reads in a text; None where a limit ended all samples: their JSON is valid, but not all said."""
    answer = engine.answer(
        f"Give the person's name, age and city as JSON.\n\nText: {text}",
        budget=edgetts.Budget(samples=samples),
        sampling=edgetts.SamplingParams(max_tokens=120),
        constraint=JsonSchema(PERSON),
        answer_format="json",
    )
    # What the limit of tokens ends is closed as the schema allows, in the middle of whatever was being written.
    if answer.answer is None or not any(sample.complete for sample in answer.samples):
        return None
    found: dict[str, object] = json.loads(answer.answer)
    return found


def main() -> None:
    text = " ".join(sys.argv[1:]) or "Anna, 31, moved from Turin to Lisbon."
    with edgetts.load(notify=lambda sentence: print(sentence, file=sys.stderr)) as engine:
        print(json.dumps(extract(engine, text), ensure_ascii=False))


if __name__ == "__main__":
    main()
