"""Answer questions: the one place where text, decoding, selection and control meet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from edgetts.answering.choosing import Choosing
from edgetts.answering.judge import Judge
from edgetts.answering.question import Question, compute
from edgetts.answering.resolving import can_run, resolve
from edgetts.budget import Budget
from edgetts.chat import ChatTemplate, Message, encode_chat
from edgetts.control.controller import Controller
from edgetts.control.cost.model import CostModel
from edgetts.control.planning.choice import Offer, best_offer, lone_gain
from edgetts.control.planning.planner import Request
from edgetts.decoding.guessers import Guessers
from edgetts.decoding.session import Cancellation, Session, SessionInfo
from edgetts.decoding.speculation import DraftModel, SpeculativeDecoder
from edgetts.errors import InvalidInput, PromptTooLong
from edgetts.host import Host
from edgetts.meter import Meter
from edgetts.profiles.curves import DEFAULT_TIMES, StepTimes
from edgetts.selection.answers import AnswerFormat
from edgetts.selection.confidence.calibration import Calibration
from edgetts.selection.strategies import Strategy
from edgetts.selection.verification.verifier import Verdict, Verifier
from edgetts.tokenizer import Tokenizer
from edgetts.types import (
    Answer,
    DecodeMode,
    DecodeParams,
    Event,
    Finished,
    SamplingParams,
)

Prompt = str | Sequence[Message]

# Tokens of an answer as expected before any was seen, and how many answers that guess weighs.
_TYPICAL_LENGTH = 200
_GUESS_WEIGHT = 4
# Tokens in which a model is asked whether a text is right.
_QUESTION = 30
# What a sample alone may get from a pass where everything repeats; a cap on lengths, not a prediction.
_TOKENS_PER_PASS = 4.0


class Engine:
    """A loaded model. Several threads may use it at once; each answer has branches of its own.

    Close it, or use it in a with statement, to give the model's memory back. `load` makes one.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        times: StepTimes = DEFAULT_TIMES,
        guessers: Guessers | None = None,
        others: Sequence[Host] = (),
        draft_model: DraftModel | None = None,
        clock: Callable[[], float] = time.perf_counter,
        memory_free: Callable[[], int] | None = None,
    ) -> None:
        """Answer with `session`, or with one of the `others` where that promises more.

        The engine closes all of them, and the draft model, which guesses for `session`.
        """
        self.session = session
        self.tokenizer = tokenizer
        self._template = template
        self._clock = clock
        self._memory_free = memory_free or available_memory
        self._lengths: deque[int] = deque(maxlen=64)
        first = Host(
            session.info.runtime,
            times,
            clock,
            opener=lambda: session,
            guessers=guessers,
            draft_model=draft_model,
        )
        self.hosts = (first, *others)
        self._draft_model = draft_model
        """The runtimes that have the model. The first one is open."""
        self._closed = False

    @property
    def model(self) -> str:
        return self.session.info.model

    @property
    def times(self) -> StepTimes:
        """How long passes of the first runtime take on this device, as far as it is known."""
        return self.hosts[0].times

    @property
    def drafters(self) -> tuple[str, ...]:
        """Who may guess at coming tokens of this model."""
        return self.hosts[0].lone.drafters

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies that can run with this model's runtime, without a verifier."""
        return tuple(can_run(self.session.capabilities))

    def answer(
        self,
        prompt: Prompt,
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
        cancel: Cancellation | None = None,
    ) -> Answer:
        """Answer a question, or the last message of a chat, within a budget.

        Without a budget one sample is drawn. `answer_format` says how answers are found in texts
        when several samples vote: see `AnswerFormat.parse`. `decode` chooses how tokens are computed,
        not which, unless it names another acceptance rule. strategy: what samples are spent on, by name or
        as settings (`edgetts.selection.strategies`); None is a vote, or with a verifier drawing until one passes.
        verifier: checks every sample's text: a name, a function of it that says true, false or a share, or an object; one that is under way at the deadline is waited for. calibration: makes the confidence a probability of being right.
        risk: what a wrong answer costs where a right one is worth 1; the answer is left empty where confidence
        is too low for it. When `cancel` is requested, the answer is what there is by then. Raises
        InvalidInput, PromptTooLong, OutOfMemory, InvalidLogits, and what a calibration's file is refused for.
        """
        for event in self.stream(
            prompt,
            budget=budget,
            sampling=sampling,
            system=system,
            answer_format=answer_format,
            decode=decode,
            strategy=strategy,
            verifier=verifier,
            calibration=calibration,
            risk=risk,
            cancel=cancel,
        ):
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("a stream ends with Finished")

    def stream(
        self,
        prompt: Prompt,
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
        cancel: Cancellation | None = None,
    ) -> Iterator[Event]:
        """Answer as `answer` does, yielding events: plans, text, finished samples, and Finished last.

        One sample's text comes as it is drawn; of several, the chosen one's when it is chosen.
        """
        budget = budget or Budget()
        sampling = sampling or SamplingParams()
        cancel = cancel or Cancellation()
        if isinstance(answer_format, str):
            answer_format = AnswerFormat.parse(answer_format)
        if not isinstance(decode, DecodeParams):
            decode = DecodeParams(decode)
        if self._closed:
            raise InvalidInput("The engine is closed.", hint="Load the model again.")
        meter = Meter(self._clock)
        choosing = resolve(
            strategy,
            verifier,
            calibration,
            risk,
            answer_format,
            sampling,
            decode,
            self.session.capabilities,
        )
        messages = _messages(prompt, system)
        tokens = encode_chat(self.tokenizer, self._template, messages)
        meter.prompt_tokens = len(tokens)
        host, considered = self._choose(tokens, budget, sampling, decode, choosing, meter.began)
        controller = Controller(budget, CostModel(host.times), self._clock, meter.began)
        # A step ends where its text does, so that a pass draws one token of it.
        alone = None if choosing.steps else host.lone.make(decode)
        if isinstance(alone, SpeculativeDecoder):
            meter.speculation = alone.summary
        elif alone is not None:
            meter.early_exits = alone.summary
        drafts = isinstance(alone, SpeculativeDecoder)
        request = self._request(tokens, sampling, host, host.session.info, drafts, choosing)
        plan = controller.make_plan(replace(request, considered=considered))
        question = Question(
            text=messages[-1].content,
            tokens=tokens,
            model=self.model,
            budget=budget,
            sampling=sampling,
            choosing=choosing,
            plan=plan,
            tokenizer=self.tokenizer,
            session=host.session,
            alone=alone,
            judge=Judge(self.tokenizer, self._template, messages, tokens),
            controller=controller,
            meter=meter,
            clock=self._clock,
            cancel=cancel,
            closed=lambda: self._closed,
            ended=self._lengths.extend,
        )
        # A generator: what was wrong was said at the call.
        return compute(question)

    def close(self) -> None:
        """Release the model. Closing twice does nothing; answers under way fail with InvalidInput."""
        self._closed = True
        for host in self.hosts:
            host.close()
        if self._draft_model is not None:
            self._draft_model.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose(
        self,
        tokens: list[int],
        budget: Budget,
        sampling: SamplingParams,
        decode: DecodeParams,
        choosing: Choosing,
        began: float,
    ) -> tuple[Host, dict[str, float]]:
        """Return the runtime to answer with, and the seconds predicted for each there is a choice of."""
        hosts = [host for host in self.hosts if host.can(decode)]
        if len(hosts) < 2:
            return (hosts or self.hosts)[0], {}
        drafts = decode.mode != "plain" and decode.early_exit is None
        offers: dict[str, Offer] = {}
        for host in hosts:
            # A runtime that is not open yet has the same model.
            request = self._request(tokens, sampling, host, self.session.info, drafts, choosing)
            controller = Controller(budget, CostModel(host.times), self._clock, began + host.opening)
            offers[host.runtime] = Offer(host.runtime, controller.make_plan(request), host.opening)
        chosen = best_offer(list(offers.values()))
        considered = {runtime: round(offer.seconds, 3) for runtime, offer in offers.items()}
        return next(host for host in hosts if host.runtime == chosen.runtime), considered

    def _request(
        self,
        tokens: list[int],
        sampling: SamplingParams,
        host: Host,
        info: SessionInfo,
        drafts: bool,
        choosing: Choosing,
    ) -> Request:
        room = info.context - len(tokens)
        if room < 1:
            raise PromptTooLong(
                f"The prompt has {len(tokens)} tokens, but the model's context holds {info.context} "
                "with at least one of the answer.",
                hint="Shorten the prompt.",
            )
        return Request(
            prompt=len(tokens),
            room=room,
            expected=self._expected_length(),
            max_tokens=sampling.max_tokens,
            bytes_per_token=info.bytes_per_token,
            memory_free=self._memory_free(),
            parallel=self.session.capabilities.parallel,
            runtime=host.runtime,
            seconds=None,
            deterministic=sampling.temperature == 0,
            tokens_per_pass=_TOKENS_PER_PASS if drafts else 1.0,
            gain=lone_gain(host.times, host.guess_rate) if drafts else 1.0,
            strategy=choosing.strategy.name,
            named=choosing.named,
            most=choosing.strategy.most,
            stops=choosing.strategy.stops,
            steps=choosing.steps,
            judging=_QUESTION if choosing.scorer is not None and choosing.scorer.judges else 0,
        )

    def _expected_length(self) -> int:
        """Return the typical length of this engine's recent answers, drawn towards the first guess."""
        seen = list(self._lengths)
        return round((_GUESS_WEIGHT * _TYPICAL_LENGTH + sum(seen)) / (_GUESS_WEIGHT + len(seen)))


def load(
    model: str | Path | None = None,
    *,
    runtime: str = "auto",
    draft_model: str | Path | None = None,
    quantize: str | None = None,
    offline: bool = False,
    measure: bool = True,
    notify: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
    home: Path | None = None,
    **options: Any,
) -> Engine:
    """Load a model by name or path; None is the default one. Pulls and converts it on first use.

    A path may be a bundle, a GGUF file or a Hugging Face directory. runtime: onnx runs bundles, llamacpp
    GGUF files (extra `llamacpp`); auto takes, for each question, whichever of those that are installed and
    have the model is predicted to be faster. draft_model: a GGUF file of the same vocabulary that guesses
    tokens for the runtime that is opened first (extra `llamacpp`; see `edgetts export --draft`). quantize: keep, int4, int8 or fp32, where a conversion is
    needed, which only onnx does. measure: time a few passes when this device has not run the
    model before, so that deadlines are planned from facts; without, auto is onnx. notify gets sentences
    for a person, progress a stage and its share done. options go to the runtime (threads, spin, cache_type_k,
    ...); auto takes those runtimes that have them. Raises ModelNotFound, ModelFileError, DownloadError,
    StorageError, InvalidInput, MissingExtra.
    """
    from edgetts.bundle import TrustRecord
    from edgetts.loading import find_draft, find_forms, open_engine
    from edgetts.store.home import find_home

    say = notify or (lambda sentence: None)
    bundle, gguf = find_forms(
        model,
        runtime,
        options,
        quantize=quantize,
        offline=offline,
        measure=measure,
        progress=progress,
        notify=say,
        home=home,
    )
    cache = find_home(home).root
    return open_engine(
        bundle,
        gguf=gguf,
        draft=None if draft_model is None else find_draft(draft_model, offline, progress, say, home),
        trust=TrustRecord(cache / "trust"),
        times=cache / "steps",
        measure=measure,
        notify=say,
        options=options,
    )


def available_memory() -> int:
    """Return the bytes that new work may take without pushing anything out."""
    import psutil

    return int(psutil.virtual_memory().available * 0.8)


def _messages(prompt: Prompt, system: str | None) -> list[Message]:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise InvalidInput("The prompt is empty.", hint="Ask something.")
        messages = [Message("user", prompt)]
    else:
        messages = list(prompt)
        if not messages:
            raise InvalidInput("There are no messages.", hint="Pass at least one from the user.")
        if not all(isinstance(message, Message) for message in messages):
            raise InvalidInput(
                "A chat's messages must be edgetts.Message.", hint="For example: Message('user', 'Hello')."
            )
        if not messages[-1].content.strip():
            raise InvalidInput("The last message is empty.", hint="Ask something.")
    return [Message("system", system), *messages] if system else messages
