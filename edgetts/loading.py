"""Open a bundle as an engine: session, tokenizer and template, and how fast the device runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgetts.bundle import TOKENIZER, WEIGHTS, TrustRecord, read_manifest
from edgetts.chat import ChatTemplate
from edgetts.engine import Engine
from edgetts.profiles.steps import (
    DEFAULT_TIMES,
    ReadsPromptsTwoWays,
    StepTimesStore,
    fingerprint,
    measure_steps,
)
from edgetts.runtimes import open_guessers, open_session
from edgetts.runtimes.hardware import physical_cores
from edgetts.tokenizer import Tokenizer


def open_engine(
    bundle: Path,
    *,
    runtime: str = "onnx",
    trust: TrustRecord | None = None,
    times: Path | None = None,
    measure: bool = True,
    notify: Callable[[str], None] = lambda sentence: None,
    options: Mapping[str, Any] | None = None,
) -> Engine:
    """Open a bundle directory. `times` is where measured step times are kept; None keeps none."""
    options = dict(options or {})
    facts = read_manifest(bundle).tokenizer
    loaded: list[Tokenizer | BaseException] = []

    def load_tokenizer() -> None:
        try:
            loaded.append(Tokenizer.load(bundle / TOKENIZER, facts))
        except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
            loaded.append(error)

    # Large vocabularies take as long to read as the weights, so read both at once. The session
    # checks the hash of every file, this one's too, before the engine exists.
    reader = threading.Thread(target=load_tokenizer, daemon=True)
    reader.start()
    try:
        session = open_session(runtime, bundle, trust=trust, **options)
    finally:
        reader.join()
    tokenizer = loaded[0]
    if isinstance(tokenizer, BaseException):
        session.close()
        raise tokenizer
    try:
        template = ChatTemplate.for_tokenizer(tokenizer)
        known = DEFAULT_TIMES
        if measure:
            manifest = read_manifest(bundle)
            mark = fingerprint(
                weights=manifest.files[WEIGHTS],
                runtime=runtime,
                version=version("onnxruntime"),
                cores=physical_cores(),
                options=options,
            )
            store = StepTimesStore(times) if times is not None else None
            stored = store.get(mark) if store is not None else None
            if stored is None:
                notify("Measuring how fast this device runs the model (once).")
                stored = measure_steps(session)
                if store is not None:
                    store.put(mark, stored)
            known = stored
        if isinstance(session, ReadsPromptsTwoWays) and "long_prompt" not in options:
            session.exact_prompts = session.exact_prompts and known.exact_prompts
        return Engine(
            session,
            tokenizer,
            template,
            times=known,
            guessers=open_guessers(runtime, bundle, options.get("threads")),
        )
    except BaseException:
        session.close()
        raise
