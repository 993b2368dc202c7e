"""The engine behind the server: loaded in the background, shared by all requests, told to stop. Knows no HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgetts.chat import ChatTemplate
from edgetts.decoding.session import Cancellation
from edgetts.errors import EdgettsError, RuntimeFailure, storage_errors
from edgetts.server.asking import Model
from edgetts.server.metrics import Metrics
from edgetts.server.refusing import RETRY_SECONDS, Refusal
from edgetts.server.settings import Settings

if TYPE_CHECKING:
    from edgetts.engine import Engine

_BODIES = 16
"""Bodies as large as is allowed that are held at a time; of smaller ones more."""


class Serving:
    """One engine, and the requests that are under way.

    engine: one that is there, which the caller closes; or what loads one, which is closed with the server. failed: is
    told why none could be loaded.
    """

    def __init__(
        self,
        engine: Engine | Callable[[], Engine],
        settings: Settings,
        failed: Callable[[EdgettsError], None] | None = None,
    ) -> None:
        from edgetts.engine import Engine as Loaded

        self.settings = settings
        self.metrics = Metrics()
        self._failed = failed
        self._lock = threading.Lock()
        self._live: set[Cancellation] = set()
        self._held = 0
        """Bytes of requests' bodies."""
        self._stopping = False
        self._failure: EdgettsError | None = None
        self._model: Model | None = None
        if isinstance(engine, Loaded):
            self._engine: Engine | None = engine
            self._load: Callable[[], Engine] | None = None
        else:
            self._engine, self._load = None, engine

    def start(self) -> None:
        """Begin to load the engine, if there is none yet; return at once."""
        if self._load is not None:
            threading.Thread(
                target=self._run_load, args=(self._load,), name="edgetts-load", daemon=True
            ).start()

    def _run_load(self, load: Callable[[], Engine]) -> None:
        try:
            with storage_errors():
                engine = load()
        except EdgettsError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else would hear of it
            self._fail(RuntimeFailure(f"The model cannot be loaded: {type(error).__name__}: {error}."))
        else:
            with self._lock:
                late = self._stopping
                if not late:
                    self._engine = engine
            if late:
                engine.close()

    def _fail(self, error: EdgettsError) -> None:
        self._failure = error
        if self._failed is not None:
            self._failed(error)

    @property
    def state(self) -> str:
        """loading, ready, failed or stopping."""
        if self._stopping:
            return "stopping"
        if self._failure is not None:
            return "failed"
        return "loading" if self._engine is None else "ready"

    @property
    def engine(self) -> Engine:
        """The engine. Raises Refusal, 503, while there is none."""
        engine, state = self._engine, self.state
        if engine is None or state != "ready":
            told = {
                "loading": "The model is being loaded.",
                "stopping": "The server is stopping.",
                "failed": f"The model could not be loaded. {self._failure}",
            }
            retry = {"retry-after": str(RETRY_SECONDS)} if state == "loading" else {}
            raise Refusal(503, told.get(state, "There is no model."), code=state, headers=retry)
        return engine

    @property
    def name(self) -> str | None:
        """The model's name, once it is loaded."""
        return None if self._engine is None else self._engine.model

    def model(self) -> Model:
        """Return what requests are checked against."""
        if self._model is None:
            engine = self.engine
            template = ChatTemplate.for_tokenizer(engine.tokenizer).source
            self._model = Model(engine.model, engine.session.info.vocab, template, engine.tokenizer)
        return self._model

    def gauges(self) -> dict[str, tuple[str, Callable[[], float | None]]]:
        """Return what is looked at when somebody asks for the metrics: name to what it is, and what it is now."""

        def summed(name: str) -> Callable[[], float | None]:
            def look() -> float | None:
                engine = self._engine
                return None if engine is None else float(sum(getattr(one, name) for one in engine.traffic))

            return look

        return {
            "edgetts_ready": ("1 once the model is loaded.", lambda: float(self.state == "ready")),
            "edgetts_requests_under_way": (
                "Completions that are computed or wait.",
                lambda: float(self.under_way),
            ),
            "edgetts_queue": ("Questions that wait for those under way.", summed("waiting")),
            "edgetts_branches_live": ("Branches that are decoded.", summed("branches")),
            "edgetts_branches_kept": ("Branches of prompts that were read.", summed("kept_branches")),
            "edgetts_kept_bytes": ("Memory of those.", summed("kept_bytes")),
        }

    @property
    def under_way(self) -> int:
        """Requests that are computed or wait for the model."""
        return len(self._live)

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Yield what takes room for bytes of a request's body. It raises Refusal, 503, where too many are held."""
        held = 0

        def take(size: int) -> None:
            nonlocal held
            with self._lock:
                if self._held + size > _BODIES * self.settings.body_bytes:
                    raise Refusal(
                        503,
                        "The requests under way are too large together.",
                        code="busy",
                        headers={"retry-after": str(RETRY_SECONDS), "connection": "close"},
                    )
                self._held += size
                held += size

        try:
            yield take
        finally:
            with self._lock:
                self._held -= held

    @contextmanager
    def place(self) -> Iterator[Cancellation]:
        """Hold one of the places of requests under way. Raises Refusal: 429 where all are taken, 503."""
        cancel = Cancellation()
        with self._lock:
            if self._stopping:
                raise Refusal(503, "The server is stopping.", code="stopping")
            if len(self._live) >= self.settings.in_flight:
                raise Refusal(
                    429,
                    f"{self.settings.in_flight} requests are under way already.",
                    code="busy",
                    headers={"retry-after": str(RETRY_SECONDS)},
                )
            self._live.add(cancel)
        try:
            yield cancel
        finally:
            with self._lock:
                self._live.discard(cancel)

    def stop(self) -> None:
        """Take no more requests; those under way go on."""
        with self._lock:
            self._stopping = True

    def cut(self) -> None:
        """End the requests under way: their answers are what there is by now."""
        self.stop()
        with self._lock:
            live = list(self._live)
        for cancel in live:
            cancel.request()

    def close(self) -> None:
        """Close the engine, if it was loaded here. No request may be under way."""
        self.cut()
        if self._load is not None and self._engine is not None:
            self._engine.close()
            self._engine = None
