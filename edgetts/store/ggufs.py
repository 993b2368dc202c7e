"""Turn a model's name or path into a GGUF file that llama.cpp can open, with its tokenizer beside it in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgetts.bundle import TOKENIZER
from edgetts.errors import CorruptFile, InvalidInput
from edgetts.profiles.models import Registry, load_registry
from edgetts.store.bundles import EXPORTER
from edgetts.store.home import Home, find_home, key_for, make_directory, publish, storage_errors
from edgetts.store.locks import clean_abandoned, scratch_space, working_on
from edgetts.store.names import LocalModel, find_model, fingerprint
from edgetts.store.progress import Progress, ignore_progress
from edgetts.store.records import read_json
from edgetts.store.sources import MODEL_FILE, ensure_source, known_sha256
from edgetts.tokenizer import TokenizerFacts

_FACTS = "facts.json"
_LOADS = "loads"


@dataclass(frozen=True, slots=True)
class Gguf:
    """A GGUF file and its tokenizer. identity: the file's sha256, or a fingerprint of its path and times.

    trusted: whether it is known that loading it does no harm.
    """

    file: Path
    name: str
    identity: str
    trusted: bool
    vocabulary: Path

    @property
    def tokenizer(self) -> Path:
        return self.vocabulary / TOKENIZER

    def facts(self) -> TokenizerFacts:
        """Read what the model says of its tokenizer. Raises CorruptFile."""
        facts = _read_facts(self.vocabulary)
        if facts is None:
            raise CorruptFile(f"The tokenizer of {self.name} in the cache is damaged.", hint="Load it again.")
        return facts

    def remember_it_loads(self) -> None:
        """Note that the file was loaded without harm, so that it need not be tried again."""
        try:
            (self.vocabulary / _LOADS).touch()
        except OSError:
            return


def has_gguf(model: str | Path | None, registry: Registry | None = None) -> bool:
    """Tell whether a model is, or comes as, a GGUF file. Raises ModelNotFound and the like."""
    target = find_model(model, registry or load_registry())
    return not isinstance(target, LocalModel) or target.kind == "gguf"


def resolve_gguf(
    model: str | Path | None = None,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
    home: Path | None = None,
    registry: Registry | None = None,
) -> Gguf:
    """Return the GGUF file of a model; it is fetched if need be, as `resolve` does. None is the default model.

    Raises InvalidInput for what is no GGUF file, ModelNotFound, ModelFileError, DownloadError, StorageError.
    """
    cache = find_home(home)
    clean_abandoned(cache)
    target = find_model(model, registry or load_registry())
    say, show = notify or (lambda sentence: None), progress or ignore_progress
    if isinstance(target, LocalModel):
        if target.kind != "gguf":
            what = "a bundle" if target.kind == "bundle" else "a Hugging Face directory"
            hint = "edgetts export DIRECTORY --to gguf makes one." if target.kind == "directory" else ""
            raise InvalidInput(
                f"{target.path} is {what}, and llama.cpp runs GGUF files.", hint=hint or "Give it to onnx."
            )
        file, identity = target.path, fingerprint(target.path)
        title, stored = target.path.stem, False
    else:
        key = key_for(target.name)
        file, title, stored = cache.sources / key / MODEL_FILE, target.name, True
        known = known_sha256(cache, target)
        if known is None or not file.is_file():
            with working_on(cache, key, say), scratch_space(cache) as scratch:
                fetched = ensure_source(cache, target, scratch, offline=offline, progress=show, notify=say)
            known = fetched.sha256
        identity = known
    directory = _vocabulary(cache, key_for(target.name), file, identity, say)
    trusted = stored or (directory / _LOADS).exists()
    return Gguf(file, title, identity, trusted, directory)


def _vocabulary(cache: Home, key: str, file: Path, identity: str, say: Callable[[str], None]) -> Path:
    """Return the directory that holds a file's tokenizer, made if it is not there."""
    place = cache.vocabularies / key / f"{identity[:16]}-x{EXPORTER}"
    if _read_facts(place) is not None:
        return place
    with working_on(cache, key, say):
        if _read_facts(place) is not None:
            return place
        from edgetts.export.vocabulary import write_vocabulary

        with scratch_space(cache) as scratch:
            made = make_directory(scratch / "vocabulary")
            facts = write_vocabulary(file, made)
            with storage_errors(cache.vocabularies):
                (made / _FACTS).write_text(json.dumps(asdict(facts)), encoding="utf-8")
                if place.exists():  # damaged, and in the way
                    place.replace(scratch / "damaged-vocabulary")
                publish(made, place)
    return place


def _read_facts(place: Path) -> TokenizerFacts | None:
    try:
        body = read_json(place / _FACTS)
        body["end_tokens"] = tuple(body["end_tokens"])
        facts = TokenizerFacts(**body)
    except (OSError, CorruptFile, KeyError, TypeError):
        return None
    return facts if (place / TOKENIZER).is_file() else None
