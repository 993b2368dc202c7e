"""Open a model as an engine: sessions, tokenizer and template, and how fast the device runs it."""

from __future__ import annotations

import hashlib
import json
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.bundle import TOKENIZER, WEIGHTS, Manifest, TrustRecord, is_static, read_manifest
from edgetts.chat import ChatTemplate
from edgetts.control.planning.choice import lone_gain
from edgetts.decoding.guessers import Guessers
from edgetts.decoding.session import Session
from edgetts.decoding.speculation import UNKNOWN_RATE, DraftModel, check_vocabularies
from edgetts.engine import Engine, available_memory
from edgetts.errors import EdgettsError, InvalidInput, MissingExtra, UnsupportedModel
from edgetts.host import Host
from edgetts.profiles.curves import DEFAULT_TIMES, EMULATED_TIMES, StepTimes
from edgetts.profiles.fingerprint import describe, mark_of
from edgetts.profiles.measuring.first_use import ReadsPromptsTwoWays, measure_steps
from edgetts.profiles.speed import Made, SpeedProfile
from edgetts.profiles.store import ProfileStore
from edgetts.runtimes import (
    AUTO,
    RUNTIMES,
    check_options,
    check_runtime,
    open_guessers,
    open_session,
    understands,
)
from edgetts.runtimes.hardware import cores_busy_elsewhere, physical_cores
from edgetts.store import resolve
from edgetts.store.ggufs import Gguf, has_gguf, resolve_gguf
from edgetts.tokenizer import Tokenizer

if TYPE_CHECKING:
    from edgetts.runtimes.npu.placing import Placed


def find_forms(
    model: str | Path | None,
    runtime: str,
    options: Mapping[str, Any],
    *,
    quantize: str | None,
    offline: bool,
    measure: bool,
    progress: Callable[[str, float], None] | None,
    notify: Callable[[str], None],
    home: Path | None,
) -> tuple[Path | None, Gguf | None]:
    """Return a model as the bundle and the GGUF file that the runtimes in question open; one may be None."""
    check_runtime(runtime)
    check_options(options)
    place = {"offline": offline, "progress": progress, "notify": notify, "home": home}
    if is_static(model):
        if runtime not in (AUTO, "npu"):
            raise InvalidInput(
                f"{model} has graphs of fixed shapes, which the {runtime} runtime does not run.",
                hint="Take the runtime npu, which runs them on processors too.",
            )
        if unknown := [name for name in options if not understands("npu", {name: None})]:
            raise InvalidInput(
                f"The runtime of static bundles has no option {unknown[0]!r}.", hint="Leave it out."
            )
        return resolve(model, quantize=quantize, **place), None  # type: ignore[arg-type]
    if runtime == "npu":
        raise InvalidInput(
            f"{model or 'The default model'} has no graphs of fixed shapes.",
            hint="Export a model with --target first, e.g. --target generic-static.",
        )
    wanted = {runtime}
    if runtime == AUTO:
        # There is nothing to choose by where nothing is measured, and only bundles can be quantised otherwise.
        choice = RUNTIMES["llamacpp"].installed and measure and quantize is None and has_gguf(model)
        wanted = {
            name for name in ("onnx", "llamacpp") if (choice or name == "onnx") and understands(name, options)
        }
        if not wanted:
            raise InvalidInput(
                f"No runtime that has this model knows all of these options: {', '.join(options)}.",
                hint="Leave some out, or name a runtime.",
            )
    elif RUNTIMES[runtime].installed and not understands(runtime, options):
        others = [
            name
            for name, one in RUNTIMES.items()
            if name != "npu" and one.installed and understands(name, options)
        ]
        raise InvalidInput(
            f"The {runtime} runtime does not know all of these options: {', '.join(options)}.",
            hint=f"Take the runtime {' or '.join(others)}." if others else "Leave some out.",
        )
    elif runtime == "llamacpp" and quantize is not None:
        raise InvalidInput(
            "llama.cpp runs a GGUF file as it is, so it cannot be quantised while it is loaded.",
            hint="Leave quantize out, or make another file: edgetts export FILE --to gguf --quantize q4_0",
        )
    gguf = None
    if "llamacpp" in wanted:
        if not RUNTIMES["llamacpp"].installed:
            raise MissingExtra("llama-cpp-python", "llamacpp")
        gguf = resolve_gguf(model, **place)  # type: ignore[arg-type]
    if "onnx" not in wanted:
        return None, gguf
    try:
        return resolve(model, quantize=quantize, **place), gguf  # type: ignore[arg-type]
    except UnsupportedModel as error:
        if gguf is not None:
            notify(f"Only llama.cpp can run this model. {error}")
            return None, gguf
        if runtime == AUTO and not RUNTIMES["llamacpp"].installed and has_gguf(model):
            hint = "llama.cpp may run it: pip install 'edgetts[llamacpp]'"
            raise UnsupportedModel(str(error.args[0]), hint=f"{error.hint} {hint}".strip()) from error
        raise


def find_draft(
    model: str | Path,
    offline: bool,
    progress: Callable[[str, float], None] | None,
    notify: Callable[[str], None],
    home: Path | None,
) -> Gguf:
    """Return the file of a draft model."""
    if not RUNTIMES["llamacpp"].installed:
        raise MissingExtra("llama-cpp-python", "llamacpp")
    return resolve_gguf(model, offline=offline, progress=progress, notify=notify, home=home)


def _memory_free(allowed: int | None) -> int:
    """Return the bytes that branches may take: what is free, or what the caller allows of it."""
    free = available_memory()
    return free if allowed is None else min(free, allowed)


def open_engine(
    bundle: Path | None,
    *,
    gguf: Gguf | None = None,
    draft: Gguf | None = None,
    trust: TrustRecord | None = None,
    profiles: Path | None = None,
    measure: bool = True,
    notify: Callable[[str], None] = lambda sentence: None,
    options: Mapping[str, Any] | None = None,
    kept_bytes: int = 0,
    most_waiting: int = 256,
) -> Engine:
    """Open a bundle directory, a GGUF file, or the same model as both.

    profiles: where what was measured is kept. kept_bytes, most_waiting: as in `Engine`.
    """
    options = dict(options or {})
    store = ProfileStore(profiles, notify) if profiles is not None else None
    forms: list[_Form] = []
    if bundle is not None:
        manifest = read_manifest(bundle)
        made = _static_form if manifest.static is not None else _bundle_form
        forms.append(made(bundle, manifest, trust, options, store, notify))
    if gguf is not None:
        forms.append(_gguf_form(gguf, options, store))
    loaded: list[Tokenizer | BaseException] = []

    def load_tokenizer() -> None:
        try:
            if bundle is not None:
                loaded.append(Tokenizer.load(bundle / TOKENIZER, read_manifest(bundle).tokenizer))
            elif gguf is not None:
                loaded.append(Tokenizer.load(gguf.tokenizer, gguf.facts()))
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            loaded.append(error)

    # Large vocabularies take as long to read as the weights, so read both at once. The session
    # checks the hash of every file of a bundle, this one's too, before the engine exists.
    reader = threading.Thread(target=load_tokenizer, daemon=True)
    reader.start()
    try:
        opened = _open_fastest(forms, store, measure, notify)
    finally:
        reader.join()
    session, drafting = opened.session, None
    try:
        tokenizer = loaded[0]
        if isinstance(tokenizer, BaseException):
            raise tokenizer
        if draft is not None:
            drafting = _open_draft(draft, session, tokenizer, options)
        return Engine(
            session,
            tokenizer,
            ChatTemplate.for_tokenizer(tokenizer),
            times=opened.form.times(opened.speed),
            kept_bytes=kept_bytes,
            most_waiting=most_waiting,
            memory_free=partial(_memory_free, options.get("memory_bytes")),
            speed=opened.speed,
            guessers=opened.form.guessers,
            draft_model=drafting,
            others=[
                Host(
                    form.runtime,
                    form.times(speed),
                    time.perf_counter,
                    opener=_opener(form, form.times(speed)),
                    guessers=form.guessers,
                    speed=speed,
                )
                for form, speed in opened.others
            ],
        )
    except BaseException:
        session.close()
        if drafting is not None:
            drafting.close()
        raise


def _open_draft(draft: Gguf, session: Session, tokenizer: Tokenizer, options: dict[str, Any]) -> DraftModel:
    theirs = Tokenizer.load(draft.tokenizer, draft.facts())
    if theirs.vocabulary() != tokenizer.vocabulary():
        raise InvalidInput(
            f"{draft.name} has another vocabulary than {session.info.model}, so it cannot draft for it.",
            hint="Take a smaller model of the same family, or make one: edgetts export FILE --draft",
        )
    settings = {name: options[name] for name in ("threads", "gpu_layers") if name in options}
    opened = open_session("llamacpp", draft.file, trusted=draft.trusted, name=draft.name, **settings)
    if not draft.trusted:
        draft.remember_it_loads()
    model = DraftModel(opened)
    try:
        check_vocabularies(session, model)
    except InvalidInput:
        model.close()
        raise
    return model


@dataclass(frozen=True, slots=True)
class _Form:
    """A model as one runtime opens it. facts: what identifies it, the runtime and the machine.

    stored: what was measured of it before, where that holds here.
    """

    runtime: str
    facts: Mapping[str, str]
    stored: SpeedProfile | None
    open: Callable[[], Session]
    guessers: Guessers | None
    weights: Callable[[], float]
    """Return the bytes that a pass reads."""
    chooses_prompts: bool = False
    """Whether how long prompts are read is left to what was measured."""
    emulated: bool = False
    """Whether its times are those of no device."""

    def times(self, speed: SpeedProfile | None) -> StepTimes:
        """Return how long passes take, by what was measured, if anything was."""
        if self.emulated:
            return EMULATED_TIMES
        return DEFAULT_TIMES if speed is None else speed.times


@dataclass(frozen=True, slots=True)
class _Opened:
    form: _Form
    session: Session
    speed: SpeedProfile | None
    others: list[tuple[_Form, SpeedProfile | None]]


def _bundle_form(
    bundle: Path,
    manifest: Manifest,
    trust: TrustRecord | None,
    options: dict[str, Any],
    store: ProfileStore | None,
    notify: Callable[[str], None],  # noqa: ARG001 - as other forms are made
) -> _Form:
    facts = facts_of("onnx", manifest.files[WEIGHTS], options)
    stored = _stored(facts, store)
    settings = _with_best_threads(options, stored)
    return _Form(
        "onnx",
        facts,
        stored,
        lambda: open_session("onnx", bundle, trust=trust, **settings),
        open_guessers(bundle, settings.get("threads")),
        lambda: _weights(manifest),
        "long_prompt" not in options,
    )


def _static_form(
    bundle: Path,
    manifest: Manifest,
    trust: TrustRecord | None,
    options: dict[str, Any],
    store: ProfileStore | None,
    notify: Callable[[str], None],
) -> _Form:
    _, facts, placed = bundle_facts(manifest, options)
    emulated = placed is not None and placed.emulated
    stored = None if emulated else _stored(facts, store)
    settings = _with_best_threads(options, stored)

    def opened() -> Session:
        session = open_session("npu", bundle, trust=trust, **settings)
        for remark in getattr(session, "remarks", ()):
            notify(remark)
        return session

    return _Form(
        "npu",
        facts,
        stored,
        opened,
        open_guessers(bundle, settings.get("threads")),
        lambda: _weights(manifest),
        emulated=emulated,
    )


def _gguf_form(gguf: Gguf, options: dict[str, Any], store: ProfileStore | None) -> _Form:
    facts = facts_of("llamacpp", gguf.identity, options)
    stored = _stored(facts, store)
    settings = _with_best_threads(options, stored)

    def opened() -> Session:
        session = open_session("llamacpp", gguf.file, trusted=gguf.trusted, name=gguf.name, **settings)
        if not gguf.trusted:
            gguf.remember_it_loads()
        return session

    return _Form("llamacpp", facts, stored, opened, None, lambda: gguf.file.stat().st_size)


def facts_of(runtime: str, weights: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return what a measurement of a model holds for. weights: the hash of its file; options: those the user named."""
    return describe(
        weights=weights,
        runtime=runtime,
        version=version(RUNTIMES[runtime].distribution),
        cores=physical_cores(),
        options=dict(options),
    )


def bundle_facts(manifest: Manifest, options: Mapping[str, Any]) -> tuple[str, dict[str, str], Placed | None]:
    """Return the runtime of a bundle, what a measurement of it holds for, and who would run it, if it is static."""
    if manifest.static is None:
        return "onnx", facts_of("onnx", manifest.files[WEIGHTS], options), None
    from edgetts.runtimes.npu.placing import placed  # needs ONNX Runtime

    where = placed(manifest, options)
    # Passes take as long as their graphs are wide and their cache is long; who named the place is all the same.
    named = {name: options[name] for name in ("threads", "memory_bytes") if name in options}
    facts = facts_of("npu", manifest.files[WEIGHTS], named)
    return "npu", facts | {"graphs": _graphs_mark(manifest), "placed": where.providers}, where


def _graphs_mark(manifest: Manifest) -> str:
    """Identify a static bundle's graphs, whatever was compiled of them."""
    note = manifest.static
    assert note is not None  # noqa: S101 - the caller has one
    files = {graph.file: manifest.files[graph.file] for graph in note.graphs}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def _stored(facts: Mapping[str, str], store: ProfileStore | None) -> SpeedProfile | None:
    return None if store is None else store.get(mark_of(facts), facts)


def _with_best_threads(options: dict[str, Any], stored: SpeedProfile | None) -> dict[str, Any]:
    """Add the number of threads that a stored curve was measured with, where the user named none."""
    if stored is None or not stored.run_threads or "threads" in options:
        return options
    return {**options, "threads": stored.run_threads}


def _open_fastest(
    forms: list[_Form],
    store: ProfileStore | None,
    measure: bool,
    notify: Callable[[str], None],
) -> _Opened:
    """Open the form that decodes a sample alone fastest, after those that were never measured have been."""
    known: dict[str, SpeedProfile | None] = {}
    open_now: tuple[_Form, Session] | None = None
    for form in list(forms):
        speed = form.stored
        if form.emulated:
            notify(
                "An emulator's times say nothing of a device, so that nothing is measured and plans have no times."
            )
        elif speed is None and measure:
            if store is not None and (outdated := store.outdated(form.facts)):
                notify(outdated)
            notify(f"Measuring how fast this device runs the model on {form.runtime} (once).")
            quiet = cores_busy_elsewhere() < 1
            if open_now is not None:
                open_now[1].close()  # measured beside another one's threads, it would look slower
                open_now = None
            try:
                open_now, speed = _measured(form)
            except EdgettsError as error:
                if len(forms) == 1:
                    raise
                notify(f"{form.runtime} cannot run it: {error}")
                forms.remove(form)
                continue
            if not quiet:
                notify("Other programs keep the processor busy, so it will be measured again next time.")
            elif store is not None:
                store.put(speed)
        known[form.runtime] = speed
    first = min(forms, key=lambda form: _alone(form.times(known[form.runtime])))
    if open_now is None or open_now[0] is not first:
        if open_now is not None:
            open_now[1].close()
        open_now = first, _opener(first, first.times(known[first.runtime]))()
    session = open_now[1]
    _settle_prompts(first, session, first.times(known[first.runtime]))
    others = [(form, known[form.runtime]) for form in forms if form is not first]
    return _Opened(first, session, known[first.runtime], others)


def _weights(manifest: Manifest) -> float:
    from edgetts.profiles.roofline import shape_of  # on first use only

    return shape_of(manifest).weights


def _measured(form: _Form) -> tuple[tuple[_Form, Session], SpeedProfile]:
    from edgetts.profiles.measuring.growth import derived_growth, read_per_token  # on first use only

    began = time.perf_counter()
    session = form.open()
    opening = time.perf_counter() - began
    try:
        times = derived_growth(measure_steps(session), read_per_token(session.info), form.weights())
    except BaseException:
        session.close()
        raise
    speed = SpeedProfile(
        mark=mark_of(form.facts),
        model=session.info.model,
        runtime=form.runtime,
        facts=form.facts,
        made=Made(times.date or date.today().isoformat(), "first-use", _versions(form)),
        times=replace(times, opening=opening),
    )
    return (form, session), speed


def _versions(form: _Form) -> dict[str, str]:
    return {
        "edgetts": version("edgetts"),
        "python": platform.python_version(),
        RUNTIMES[form.runtime].distribution: form.facts["version"],
    }


def _opener(form: _Form, times: StepTimes) -> Callable[[], Session]:
    def opened() -> Session:
        session = form.open()
        _settle_prompts(form, session, times)
        return session

    return opened


def _settle_prompts(form: _Form, session: Session, times: StepTimes) -> None:
    if form.chooses_prompts and isinstance(session, ReadsPromptsTwoWays):
        session.exact_prompts = session.exact_prompts and times.exact_prompts


def _alone(times: StepTimes) -> float:
    """Seconds a token of a sample alone takes, guesses that are right half of the time included."""
    return times.at(1) / lone_gain(times, UNKNOWN_RATE)
