"""Answer questions: the one place where text, decoding, selection and control meet."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

from edgetts.answering.adapting import ProgressFinder
from edgetts.answering.approaches import Asking
from edgetts.answering.asked import Asked, AskedNow, Priority
from edgetts.answering.asynchronous import afinished, cancellable, finished
from edgetts.answering.judge import Judge
from edgetts.answering.noting import Noting
from edgetts.answering.planning import (
    Knowledge,
    Place,
    Posed,
    SuccessFinder,
    choose,
    drawn_key,
    length_key,
    request_for,
)
from edgetts.answering.posing import Prompt, pose
from edgetts.answering.question import Question, compute
from edgetts.answering.resolving import can_run
from edgetts.answering.watching import Known
from edgetts.chat import ChatTemplate, Message
from edgetts.control.controller import Controller
from edgetts.control.cost.lengths import LengthBook
from edgetts.decoding.guessers import Guessers
from edgetts.decoding.session import Cancellation, Session, SessionInfo
from edgetts.decoding.speculation import DraftModel, SpeculativeDecoder, longest_draft
from edgetts.energy.meter import MeterFactory
from edgetts.errors import InvalidInput, storage_errors
from edgetts.host import Host
from edgetts.meter import Meter
from edgetts.profiles.curves import DEFAULT_TIMES, StepTimes
from edgetts.profiles.device import DeviceProfile, PowerState
from edgetts.profiles.speed import SpeedProfile
from edgetts.scheduling.sharing import Sharing, Traffic
from edgetts.structure import Structure
from edgetts.structure.compiler import Compiler
from edgetts.tokenizer import Tokenizer
from edgetts.types import (
    Answer,
    Event,
    Finished,
    Plan,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgetts.energy.state import Power
    from edgetts.use.log import UseLog


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
        speed: SpeedProfile | None = None,
        guessers: Guessers | None = None,
        others: Sequence[Host] = (),
        draft_model: DraftModel | None = None,
        clock: Callable[[], float] = time.perf_counter,
        memory_free: Callable[[], int] | None = None,
        device: DeviceProfile | None = None,
        lengths: LengthBook | None = None,
        success: SuccessFinder | None = None,
        meters: MeterFactory | None = None,
        power: Callable[[], Power] | None = None,
        kept_bytes: int = 0,
        most_waiting: int = 256,
    ) -> None:
        """Answer with `session`, or with one of the `others` where that promises more.

        The engine closes all of them, and the draft model, which guesses for `session`. speed: what else was measured of
        the model on this device. device: what this one may
        spend and draws; without it there are no power modes, and no joules. lengths: how long samples were so
        far, to which more is added. success: what is known of how often the model is right. meters: makes the
        energy meter of each answer. power: tells what the device is in; None asks the system. kept_bytes: memory for
        what was read of questions, so that others that begin alike need not read it again. most_waiting: questions that
        may wait for those under way; more are refused.
        """
        self.session = session
        self.tokenizer = tokenizer
        self._asking = Asking(tokenizer, template)
        self._clock = clock
        self._memory_free = memory_free or available_memory
        self._knowledge = Knowledge(device, success, lengths=lengths or LengthBook(), state=power)
        self._meters = meters
        first = Host(
            session.info.runtime,
            times,
            clock,
            opener=lambda: session,
            guessers=guessers,
            draft_model=draft_model,
            speed=speed,
        )
        self.hosts = (first, *others)
        """The runtimes that have the model. The first one is open."""
        for host in self.hosts:
            host.sharing = Sharing(self._memory_free, kept_bytes, most_waiting=most_waiting)
        self._uses: UseLog | None = None
        self._draft_model = draft_model
        self._compiler = Compiler(tokenizer, session.info.vocab, session.info.end_tokens)
        self._closed = False
        self._process = os.getpid()
        # Passes under way when the interpreter ends would abort the process.
        self._at_exit = partial(_close, weakref.ref(self))
        atexit.register(self._at_exit)

    @property
    def model(self) -> str:
        return self.session.info.model

    @property
    def device(self) -> DeviceProfile | None:
        return self._knowledge.device

    @property
    def times(self) -> StepTimes:
        """How long passes of the first runtime take on this device, as far as it is known."""
        return self.hosts[0].times

    @property
    def drafters(self) -> tuple[str, ...]:
        """Who may guess at coming tokens of this model."""
        return self.hosts[0].lone.drafters

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """What goes on at each runtime that answered something."""
        found = (host.traffic for host in self.hosts)
        return tuple(traffic for traffic in found if traffic is not None)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies that can run with this model's runtime, without a verifier."""
        return tuple(can_run(self.session.capabilities))

    def answer(self, prompt: Prompt, **asked: Unpack[AskedNow]) -> Answer:
        """Answer a question, or the last message of a chat, within a budget.

        asked: see `edgetts.answering.asked`. Raises InvalidInput, PromptTooLong, OutOfMemory, InvalidLogits, Busy, and
        what a calibration's file is refused for.
        """
        return finished(self.stream(prompt, **asked))

    def stream(self, prompt: Prompt, **asked: Unpack[AskedNow]) -> Iterator[Event]:
        """Answer as `answer` does, yielding events: plans, text, finished samples, and Finished last.

        One sample's text comes as it is drawn; of several, the chosen one's when it is chosen.
        """
        cancel = asked.pop("cancel", None)
        watcher = asked.pop("watcher", None)
        priority = asked.pop("priority", "foreground")
        began = asked.pop("began", None)
        if cancel is not None and not isinstance(cancel, Cancellation):
            raise InvalidInput(
                f"cancel is {type(cancel).__name__}, which cannot be requested.",
                hint="Pass edgetts.Cancellation().",
            )
        if priority not in get_args(Priority):
            raise InvalidInput(
                f"There is no priority {priority!r}.", hint=f"Choose one of: {', '.join(get_args(Priority))}."
            )
        meter = Meter(self._clock, None if self._meters is None else self._meters(), began)
        self._check_open()
        posed = self._pose(prompt, asked)
        hosts = self._hosts_for(posed)
        chosen = self._chosen(posed, hosts)
        host = next((host for host in hosts if chosen and host.runtime == chosen.runtime), hosts[0])
        if chosen is not None:
            posed = posed.narrowed(chosen)
        alone = None if posed.choosing.steps else host.lone.make(posed.wishes.decode)
        if isinstance(alone, SpeculativeDecoder):
            meter.speculation = alone.summary
        elif alone is not None:
            meter.early_exits = alone.summary
        place = self._place(host, host.session.info)
        cost, [way] = place.cost, posed.approaches
        tokens = posed.prompts[way.approach]
        meter.prompt_tokens = len(tokens)
        controller = Controller(
            posed.terms.budget, cost, self._clock, meter.began, lengths=way.lengths, joules=meter.joules
        )
        plan = controller.make_plan(request_for(posed, place, self._memory_free()))
        if chosen is not None:
            plan = replace(plan, considered=chosen.considered, candidates=chosen.candidates)
        sampling = posed.wishes.sampling
        if plan.temperature is not None:
            sampling = replace(sampling, temperature=plan.temperature)
        key = length_key(posed.wishes, way.approach)
        messages = self._asking.messages(posed.messages, way.approach)
        template = self._asking.template_for(way.approach)
        question = Question(
            text=posed.messages[-1].content,
            tokens=tokens,
            model=self.model,
            budget=posed.terms.budget,
            sampling=sampling,
            choosing=posed.choosing,
            plan=plan,
            tokenizer=self.tokenizer,
            seat=partial(host.scheduler.seat, plan.memory_bytes or 0, foreground=priority == "foreground"),
            alone=alone,
            judge=Judge(self.tokenizer, template, messages, tokens),
            controller=controller,
            meter=meter,
            clock=self._clock,
            cancel=cancel or Cancellation(),
            closed=lambda: self._closed,
            ended=lambda lengths: self._knowledge.learn(key, lengths, ended=True),
            known=Known(host.times, place.power, 1.0, way.lengths),
            watcher=watcher,
            constraint=posed.constraint,
            yields=posed.wishes.decode.mode == "auto" and posed.wishes.decode.early_exit is None,
        )
        # A generator: what was wrong was said at the call.
        noting = None if self._uses is None else Noting(self._uses, host, posed.terms.state)
        if noting is not None:
            cost.observer = noting.observe
        return self._concluding(question, key, drawn_key(posed.wishes, posed.choosing), noting)

    async def aanswer(self, prompt: Prompt, **asked: Unpack[AskedNow]) -> Answer:
        """Answer as `answer` does, without blocking the event loop; a cancelled task ends the answer."""
        return await afinished(self.astream(prompt, **asked))

    async def astream(self, prompt: Prompt, **asked: Unpack[AskedNow]) -> AsyncGenerator[Event, None]:
        """Yield the events of `stream`; whoever leaves early has the answer cancelled, and what it holds freed."""

        def start(cancel: Cancellation) -> Iterator[Event]:
            asked["cancel"] = cancel
            return self.stream(prompt, **asked)

        async with aclosing(cancellable(start, asked.get("cancel"))) as events:
            async for event in events:
                yield event

    def plan(self, prompt: Prompt, **asked: Unpack[Asked]) -> Plan:
        """Return the plan that `answer` would begin with, with everything that it was chosen among; compute nothing.

        Raises what `answer` does before it computes.
        """
        self._check_open()
        asked["explain"] = True
        posed = self._pose(prompt, asked)
        places = [self._place(host, self.session.info) for host in self._hosts_for(posed)]
        return choose(posed, places, self._memory_free())

    def count(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Return the tokens of a chat as a prompt; of `session.info.context` the rest is room for an answer."""
        return len(self._asking.encode(messages, tools, "reason"))

    def know(
        self,
        device: DeviceProfile | None = None,
        success: SuccessFinder | None = None,
        meters: MeterFactory | None = None,
        progress: ProgressFinder | None = None,
    ) -> None:
        """Take in what is known of the device, of the model's success and samples, and how joules are counted, from now on."""
        self._knowledge.device, self._knowledge.success = device, success
        self._knowledge.progress = progress
        self._meters = meters

    def assume(self, state: PowerState) -> None:
        """Take it that the device is in this power state from now on, whatever the system says."""
        from edgetts.energy.state import Power

        self._knowledge.state = lambda: Power(state, "assumed")
        # What a use took under another state than it says would teach something wrong.
        self._uses = None

    def learn(self, uses: UseLog) -> None:
        """Correct the speeds by earlier uses of this device, and write down what each answer takes from now on."""
        from edgetts.use.learning import learned

        self._uses = uses
        for host in self.hosts:
            if host.speed is not None:
                host.times = learned(host.speed.times, uses.read(mark=host.speed.mark))

    def close(self) -> None:
        """Release the model. Closing twice does nothing; answers under way fail with InvalidInput.

        Also called when the interpreter ends. In a forked child the memory stays as it is.
        """
        self._closed = True
        atexit.unregister(self._at_exit)
        if os.getpid() != self._process:
            # A fork copies no threads, and the runtime would wait for its own for ever.
            return
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

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("The engine is closed.", hint="Load the model again.")

    def _pose(self, prompt: Prompt, asked: Asked) -> Posed:
        vocab = self.session.info.vocab
        sampling = asked.get("sampling")
        if sampling is not None and (wrong := [t for t, _ in sampling.logit_bias if t >= vocab]):
            raise InvalidInput(
                f"logit_bias names the token {wrong[0]}, but the model has {vocab}.",
                hint="Take ids of this model's own vocabulary.",
            )
        if isinstance(constraint := asked.get("constraint"), Structure):
            asked["constraint"] = self._compiler.compile(constraint)
        known, abilities = self._knowledge, self.session.capabilities
        return pose(prompt, self._asking, known, abilities, **asked)  # type: ignore[arg-type]  # compiled

    def _hosts_for(self, posed: Posed) -> Sequence[Host]:
        """Return the runtimes that can decode as is asked; the first where none can, which says why not."""
        return [host for host in self.hosts if host.can(posed.wishes.decode)] or self.hosts[:1]

    def _chosen(self, posed: Posed, hosts: Sequence[Host]) -> Plan | None:
        """Return the plan of the best runtime and way of asking; None where there is no choice of them."""
        if len(hosts) * len(posed.approaches) < 2:
            return None
        # A runtime that is not open yet has the same model.
        places = [self._place(host, self.session.info) for host in hosts]
        return choose(posed, places, self._memory_free())

    def _place(self, host: Host, info: SessionInfo) -> Place:
        device = self._knowledge.device
        measured = None if host.speed is None else host.speed.power
        return Place(
            runtime=host.runtime,
            times=host.times,
            context=info.context,
            bytes_per_token=info.bytes_per_token,
            parallel=self.session.capabilities.parallel,
            opening=host.opening,
            guess_rate=host.guess_rate,
            power=measured if measured is not None or device is None else device.power,
            # What emulated passes took is forgotten with their answer.
            drift=host.drift if host.times.source != "emulated" else None,
            longest_draft=longest_draft(self.session.capabilities),
            whole_cache=info.whole_cache,
            known=host.known,
        )

    def _concluding(self, question: Question, key: str, kind: str, noting: Noting | None) -> Iterator[Event]:
        """Compute; learn from the samples that a limit cut, and add what was decided to the answer."""
        for event in compute(question):
            if isinstance(event, Finished):
                answer = event.answer
                cut = [len(sample.tokens) for sample in answer.samples if not sample.complete]
                self._knowledge.learn(key, cut, ended=False)
                self._knowledge.learn_drawn(kind, answer)
                if noting is not None and not question.meter.crowded:
                    noting.write(answer)
                event = Finished(replace(answer, decisions=tuple(question.controller.decisions)))
            yield event


@storage_errors()
def load(
    model: str | Path | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    provider: str | None = None,
    provider_options: Mapping[str, str] | None = None,
    draft_model: str | Path | None = None,
    quantize: str | None = None,
    offline: bool = False,
    measure: bool = True,
    notify: Callable[[str], None] | None = None,
    progress: Callable[[str, float], None] | None = None,
    home: Path | None = None,
    kept_bytes: int | None = None,
    most_waiting: int = 256,
    **options: Any,
) -> Engine:
    """Load a model by name or path; None is the default one. Pulls and converts it on first use.

    A path may be a bundle, a GGUF file or a Hugging Face directory. runtime: onnx runs bundles, llamacpp
    GGUF files (extra `llamacpp`); auto takes, for each question, whichever of those that are installed and
    have the model is predicted to be faster; npu runs static bundles (`edgetts export --target`), which auto takes
    for those. device: cpu, npu or gpu; auto is what the model's form is for, where it is here. provider: one of ONNX
    Runtime by name instead, with provider_options of its own. draft_model: a GGUF file of the same vocabulary that guesses
    tokens for the runtime that is opened first (extra `llamacpp`; see `edgetts export --draft`). quantize: keep, int4, int8 or fp32, where a conversion is
    needed, which only onnx does. kept_bytes: memory for what was read of questions, so that others that begin alike (the
    next turn of a chat) need not read it again; None is an eighth of what is free, half a gigabyte at most. most_waiting:
    questions that may wait for those under way; more raise Busy. measure: time a few passes when this device has not run the
    model before, so that deadlines are planned from facts; without, auto is onnx. notify gets sentences
    for a person, progress a stage and its share done. options go to the runtime (threads, spin, cache_type_k,
    ...); auto takes those runtimes that have them. Raises ModelNotFound, ModelFileError, DownloadError,
    StorageError, InvalidInput, MissingExtra.
    """
    from edgetts.answering.lookout import Lookout
    from edgetts.bundle import TrustRecord
    from edgetts.device import Where, settle
    from edgetts.loading import find_draft, find_forms, open_engine
    from edgetts.store.home import find_home
    from edgetts.use.log import open_log

    say = notify or (lambda sentence: None)
    runtime, options = settle(Where(device, provider, provider_options or {}), model, runtime, options)
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
    around = Lookout(cache, say)  # while the weights are read
    engine = open_engine(
        bundle,
        gguf=gguf,
        draft=None if draft_model is None else find_draft(draft_model, offline, progress, say, home),
        trust=TrustRecord(cache / "trust"),
        profiles=cache / "profiles",
        measure=measure,
        notify=say,
        options=options,
        kept_bytes=min(_MOST_KEPT, available_memory() // 8) if kept_bytes is None else kept_bytes,
        most_waiting=most_waiting,
    )
    try:
        engine.know(*around.found(engine.model))
        if (uses := open_log(cache, os.environ)) is not None:
            engine.learn(uses)
    except BaseException:
        engine.close()
        raise
    return engine


_MOST_KEPT = 1 << 29
"""Bytes that are kept of questions at most, where the caller does not say."""


def _close(engine: weakref.ref[Engine]) -> None:
    found = engine()
    if found is not None:
        found.close()


def available_memory() -> int:
    """Return the bytes that new work may take without pushing anything out."""
    import psutil

    return int(psutil.virtual_memory().available * 0.8)
