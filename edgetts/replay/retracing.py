"""Let other policies have the samples of one traced answer; knows no texts, for a trace has none."""

from __future__ import annotations

from dataclasses import replace

from edgetts.control.cost.lengths import LengthBook, Lengths
from edgetts.errors import InvalidInput
from edgetts.evaluation.record import ProblemRecord
from edgetts.replay.planning import Learning
from edgetts.replay.playing import Outcome, Setting, lacking, play
from edgetts.replay.policies import Policy
from edgetts.replay.trace import AnswerTrace


def other_outcome(trace: AnswerTrace, policy: Policy, setting: Setting) -> Outcome:
    """Replay an answer's whole samples under another policy; nobody knows what is right.

    Errors: InvalidInput where no sample came to its end, or the policy looks at texts.
    """
    whole = [sample for sample in trace.samples if not sample.record.cut]
    if not whole:
        raise InvalidInput(
            f"No sample of the answer of line {trace.line} came to its end, so none can be drawn again.",
            hint="Trace an answer with a larger budget.",
        )
    scorer = policy.strategy.scorer
    if scorer is not None and not scorer.judges:
        raise InvalidInput(
            f"The policy {policy.spec!r} scores texts, which a trace does not have.",
            hint="Replay a record of edgetts eval --record under it.",
        )
    if missing := lacking(policy.strategy, [whole]):
        raise InvalidInput(
            f"The policy {policy.spec!r} needs a {' and a '.join(missing)}, which the trace lacks."
        )
    problem = ProblemRecord(
        id=str(trace.line),
        index=0,
        question="",
        reference=None,
        prompt_tokens=trace.prompt_tokens,
        answer_format=str(trace.header.get("answer_format") or "none"),
    )
    book = LengthBook()
    if isinstance(trace.lengths, Lengths):
        for tokens, ended in trace.lengths.seen:
            book.observe(f"{problem.answer_format}/reason", tokens, ended)
    samples = [replace(one, record=replace(one.record, logprobs=(0.0,) * one.kept)) for one in whole]
    return play(problem, samples, policy, setting, Learning(book))
