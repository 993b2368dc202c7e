"""Choose how many samples to draw, how wide, and how long, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgetts.budget import Budget
from edgetts.control.cost.model import CostModel
from edgetts.errors import InvalidInput, OutOfMemory
from edgetts.types import Plan

DEFAULT_MAX_TOKENS = 1024
"""Cap of one sample where neither the caller nor a budget sets one."""
MAX_SAMPLES = 16
"""Samples a budget of time or tokens is spent on at most, unless the caller asks for more."""
MAX_WIDTH = 16
"""Branches in one pass; beyond it a pass costs as much more as it yields."""
DEFAULT_SAMPLES = 8
"""Samples of a strategy that was asked for by name, where no budget says how many."""
# Tokens of a step of an answer, typically.
_STEP_TOKENS = 40
# Rows of the cache grow ahead of need by this many tokens.
_CACHE_SLACK = 320
# Of the time before a deadline, the share kept for what no curve predicts.
_RESERVE = 0.05
# A sample should have room for this many times the expected length, so that most finish.
_ROOM = 1.3
# More passes than any answer takes: seconds beyond it are as good as no deadline, and no float overflows.
_ENDLESS = 1e9


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is made for. Lengths in tokens, memory in bytes.

    room: tokens the context still holds after the prompt. expected: typical length of an answer.
    memory_free: what the device has left now. seconds: until the deadline, None without one.
    deterministic: every sample would be the same. tokens_per_pass: what a sample alone may get at most
    from a pass, typically. gain: how many times faster than by passes of its own it is expected to be.
    considered: seconds predicted for each runtime that there was a choice of. strategy: its name; named: it was
    asked for; most: samples it can use; stops: when it ends; steps: all its samples are open at once. judging: tokens
    read to judge a text, once a sample or once a step.
    """

    prompt: int
    room: int
    expected: int
    max_tokens: int | None
    bytes_per_token: int
    memory_free: int
    parallel: bool
    runtime: str
    seconds: float | None
    deterministic: bool = False
    tokens_per_pass: float = 1.0
    gain: float = 1.0
    considered: dict[str, float] = field(default_factory=dict)
    strategy: str = "self_consistency"
    named: bool = False
    most: int | None = None
    stops: str = ""
    steps: bool = False
    judging: int = 0


def make_plan(budget: Budget, request: Request, cost: CostModel) -> Plan:
    """Return the plan for a budget. Raises OutOfMemory where not even one sample fits the memory."""
    if budget.joules is not None:
        raise InvalidInput(
            "The budget names joules, but this device's power is not known, so they cannot be kept.",
            hint="Give the budget in seconds or tokens.",
        )
    cap = min(request.max_tokens or DEFAULT_MAX_TOKENS, request.room)
    wanted, reason = _wanted(budget, request)
    if request.deterministic and wanted > 1:
        if budget.samples is not None or request.named:
            raise InvalidInput(
                f"At temperature 0 all {wanted} samples would be the same.",
                hint="Leave the temperature out, or ask for one sample.",
            )
        wanted, reason = 1, "at temperature 0 all samples would be the same, so one"
    # Partial answers stay in memory while others run.
    side_by_side = wanted if request.steps else min(wanted, MAX_WIDTH) if request.parallel else 1
    if budget.tokens is not None:
        cap = min(cap, budget.tokens)
        affordable = max(1, budget.tokens // min(request.expected, cap))
        # A pass draws a token for each branch, so that the width bounds what is spent at once.
        side_by_side = min(side_by_side, affordable)
        if budget.samples is None and affordable < wanted:
            wanted, reason = affordable, f"{budget.tokens} tokens allow about {affordable} answers"
    side_by_side, cap, kept = _within_memory(budget, request, wanted, side_by_side, cap)
    if kept < wanted:
        wanted, reason = kept, "the memory allows one answer"
    if request.steps and side_by_side < wanted:
        wanted, reason = side_by_side, f"the budget allows {side_by_side} partial answers at once"
    width = min(side_by_side, MAX_WIDTH) if request.parallel else 1
    rounds = -(-wanted // width)
    seconds = None
    if request.seconds is not None:
        seconds = (request.seconds - cost.prefill(request.prompt)) * (1 - _RESERVE)
        width = _within_time(seconds, width, min(cap, request.expected), cost)
        possible = int(min(seconds / cost.step(width), _ENDLESS))
        # The clock ends samples in time; the cap only says what can be, for one that runs alone at last.
        if cost.measured:
            longest = min(seconds / cost.step(1), _ENDLESS) * _ROOM * request.tokens_per_pass
            cap = max(1, min(cap, round(longest)))
        rounds = max(1, min(-(-wanted // width), possible // max(1, min(cap, request.expected))))
        if request.steps:
            rounds, wanted = 1, min(wanted, width)
        if budget.samples is None and width * rounds < wanted:
            wanted = width * rounds
            reason = f"{request.seconds:.1f} s allow {wanted} answers of about {request.expected} tokens"
    typical = min(cap, request.expected) / (request.gain if width == 1 else 1.0)
    judged = wanted * (max(1.0, typical / _STEP_TOKENS) if request.steps else 1.0)
    judging = judged * cost.prefill(request.judging)
    return Plan(
        runtime=request.runtime,
        strategy=request.strategy if request.named or wanted > 1 else "single",
        samples=wanted,
        width=width,
        rounds=rounds,
        max_tokens=cap,
        stop_rule=request.stops if wanted > 1 else "when the model ends",
        predicted_seconds=cost.prefill(request.prompt) + rounds * typical * cost.step(width) + judging,
        step_seconds=cost.step(width),
        source=cost.provenance,
        reason=reason,
        considered=request.considered,
    )


def _wanted(budget: Budget, request: Request) -> tuple[int, str]:
    most = request.most
    if budget.samples is not None:
        if most is not None and budget.samples > most:
            raise InvalidInput(
                f"The strategy {request.strategy!r} uses at most {most} of the {budget.samples} samples asked for.",
                hint="Ask for fewer, or take another strategy.",
            )
        return budget.samples, f"{budget.samples} samples were asked for"
    if most is not None:
        return most, f"{request.strategy} draws {most}"
    if budget.seconds is not None or budget.tokens is not None:
        return MAX_SAMPLES, f"the budget allows {MAX_SAMPLES} samples"
    if request.named:
        return DEFAULT_SAMPLES, f"{request.strategy} takes {DEFAULT_SAMPLES} where no budget is given"
    return 1, "no budget was given, so one sample"


def _within_memory(
    budget: Budget, request: Request, wanted: int, width: int, cap: int
) -> tuple[int, int, int]:
    """Narrow the pass, then shorten the samples, until the caches fit; return width, cap and samples."""
    limit = request.memory_free
    if budget.memory_bytes is not None:
        limit = min(limit, budget.memory_bytes)
    tokens = limit // max(1, request.bytes_per_token)
    # The prompt's own branch stays until the last sample has started, and is the last sample's.
    fixed = request.prompt + _CACHE_SLACK
    while width > 1 and fixed + width * (fixed + cap) > tokens:
        width -= 1
    if width == 1:
        beside = tokens - 2 * fixed
        if wanted > 1 and beside < min(cap, request.expected):
            wanted = 1
        cap = min(cap, tokens - fixed if wanted == 1 else beside)
    if cap < 1:
        needed = (fixed + 1) * request.bytes_per_token
        raise OutOfMemory(
            f"The prompt's cache needs {needed / 1e6:.1f} MB, but only {limit / 1e6:.1f} MB may be used.",
            hint="Allow more memory, or shorten the prompt.",
        )
    return width, cap, wanted


def _within_time(seconds: float, width: int, expected: int, cost: CostModel) -> int:
    """Return the widest pass at which an answer of the expected length still ends in time."""
    while width > 1 and seconds / cost.step(width) < expected * _ROOM:
        width -= 1
    return width
