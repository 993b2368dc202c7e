"""Let a model call functions: an agent with a calculator and a clock.

python examples/tools.py "What is 17 times 23?"
python examples/tools.py --free "What time is it in Tokyo?"     the model decides whether to call

Needs the extra `structure`. What the model calls and with what arguments is held to the tools' schemas, so that even a
small model's calls can be run; whether they make sense is another matter. Small models seldom call on their own, so
unless --free is given the first round is a call.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import edgetts
from edgetts.chat import Message, ToolCall
from edgetts.errors import EdgettsError
from edgetts.tools import prepare_for

CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculate",
        "description": "Compute an arithmetic expression of numbers, + - * / ** and brackets.",
        "parameters": {
            "type": "object",
            # What the calculator can read; a model cannot write anything else.
            "properties": {"expression": {"type": "string", "pattern": r"^[0-9+\-*/(). ]{1,40}$"}},
            "required": ["expression"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "current_time",
        "description": "Tell the date and time, so many hours ahead of UTC.",
        "parameters": {
            "type": "object",
            "properties": {"hours_ahead_of_utc": {"type": "integer", "minimum": -12, "maximum": 14}},
            "required": ["hours_ahead_of_utc"],
            "additionalProperties": False,
        },
    },
}
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: lambda a, b: math.pow(a, b),  # a float: no number of a million digits
}


def calculate(expression: str) -> str:
    """Compute; what cannot be computed is told, so that the model can try again."""

    def value(node: ast.AST) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return -value(node.operand) if isinstance(node.op, ast.USub) else value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError("not arithmetic")

    try:
        return f"{value(ast.parse(expression.strip(), mode='eval').body):.12g}"
    except (SyntaxError, ValueError, ArithmeticError) as error:
        return f"error: {error}"


@dataclass(frozen=True)
class Agent:
    """Ask, run what the model calls, show it the results, until it answers. now: tells the time in UTC."""

    engine: edgetts.Engine
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    tell: Callable[[str], None] = print

    def ask(self, question: str, *, free: bool = False, rounds: int = 3) -> str:
        """Return the answer. free: the model need not call; rounds: of calls at most."""
        messages = [Message("user", question)]
        sampling = edgetts.SamplingParams(max_tokens=200)
        asked: set[tuple[str, str]] = set()
        choice = "auto" if free else "required"
        while True:
            request = prepare_for(
                self.engine.tokenizer, [CALCULATOR, CLOCK], messages, choice, parallel=False
            )
            if request.note and not asked:
                self.tell(f"note: {request.note}")
            answer = self.engine.answer(request.messages, sampling=sampling, **request.asked)
            text, calls = request.read(answer.text)
            if not calls:
                return text.strip()
            again = {(call.name, call.arguments) for call in calls} & asked
            asked |= {(call.name, call.arguments) for call in calls}
            # Who asks the same again, or again and again, is to answer from what there is.
            choice = "none" if again or len(asked) >= rounds else "auto"
            messages.append(Message("assistant", text, tool_calls=calls))
            messages += [self._result(call) for call in calls]

    def _result(self, call: ToolCall) -> Message:
        arguments = json.loads(call.arguments)
        if call.name == "calculate":
            result = calculate(**arguments)
        else:
            zone = timezone(timedelta(hours=arguments["hours_ahead_of_utc"]))
            result = self.now().astimezone(zone).strftime("%A, %d %B %Y, %H:%M")
        self.tell(f"{call.name}({call.arguments}) -> {result}")
        return Message("tool", result, tool_call_id=call.id, name=call.name)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Let a model call a calculator and a clock.")
    parser.add_argument("question", nargs="?", default="What is 17 times 23?")
    parser.add_argument("--free", action="store_true", help="let the model decide whether to call")
    parser.add_argument("--model", default=None, help="a model's name or file; default: edgetts' own")
    given = parser.parse_args(arguments)
    notify = lambda sentence: print(sentence, file=sys.stderr)  # noqa: E731
    try:
        named = {} if given.model is None else {"model": given.model}
        with edgetts.load(**named, notify=notify) as engine:
            print(Agent(engine).ask(given.question, free=given.free))
    except EdgettsError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
