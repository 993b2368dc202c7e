"""Write a GGUF file from a checkpoint: read, write floats, leave out layers, quantise, check, rename.

What a person asks for comes together here; every step is another module's.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import tokenizers

from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput, StorageError
from edgetts.export.checkpoint import Checkpoint, open_checkpoint
from edgetts.export.to_gguf import llamacpp
from edgetts.export.to_gguf.check import (
    Perplexity,
    RoundTrip,
    expect,
    must_be_exact,
    perplexities,
    perplexity_tokens,
    round_trip,
)
from edgetts.export.to_gguf.forms import Form, find_form
from edgetts.export.to_gguf.importance import text_tokens, write_importance
from edgetts.export.to_gguf.keys import Keys
from edgetts.export.to_gguf.matrices import coarsest_floats, matrices_of, rounding_notes
from edgetts.export.to_gguf.prune import layers_to_prune, spans
from edgetts.export.to_gguf.vocabulary import Vocabulary, vocabulary_from_hf
from edgetts.export.to_gguf.write import write_floats
from edgetts.export.tokenizer import special_tokens_from_gguf, tokenizer_from_gguf
from edgetts.tokenizer import TokenizerFacts

Progress = Callable[[str, float], None]

_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Written:
    """A GGUF file that was written.

    kinds: how many matrices have each of GGUF's types. check and perplexity are None where llama.cpp is
    not installed; perplexity also where the file is in floating point and has all layers.
    """

    path: Path
    quantize: str
    kinds: dict[str, int]
    pruned_layers: tuple[int, ...]
    check: RoundTrip | None
    perplexity: Perplexity | None
    notes: tuple[str, ...]


def to_gguf(
    source: Path,
    destination: Path,
    *,
    quantize: str = "keep",
    prune: Sequence[int] = (),
    imatrix_text: Path | None = None,
    licence: str | None = None,
    progress: Progress | None = None,
) -> Written:
    """Write the GGUF file `destination` from a Hugging Face directory or another GGUF file.

    quantize: keep (matrices as the source has them) or one of FORMS. prune: layers to leave out, from 0.
    imatrix_text: a text file that says which weights matter. progress is called with a stage and its
    share done. The file appears whole or not at all; an existing GGUF file is replaced. A Hugging Face
    directory in floating point needs no llama.cpp, and is then not checked. Raises what reading a
    checkpoint raises, InvalidInput, MissingExtra, RuntimeFailure and StorageError.
    """
    form = find_form(quantize)
    _check_options(form, quantize, imatrix_text)
    source, destination = Path(source), Path(destination)
    scratch = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        _check_destination(source, destination)
        scratch.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        with open_checkpoint(source) as checkpoint:
            work = _Work(checkpoint, source, scratch, form, licence, progress or (lambda stage, share: None))
            finished, written = work.write(destination, quantize, prune, imatrix_text)
        finished.replace(destination)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or type(error).__name__
        raise StorageError(
            f"{destination} could not be written: {reason}.", hint="Nothing half-written was left behind."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return written


def _check_destination(source: Path, destination: Path) -> None:
    """Raise InvalidInput where writing would take away something else than an older GGUF file."""
    if not destination.exists():
        return
    if destination.is_dir():
        raise InvalidInput(f"{destination} is a directory, so it is not replaced.", hint="Name a file.")
    if destination.resolve() == source.resolve():
        raise InvalidInput(f"{destination} is the source itself.", hint="Name another file.")
    with destination.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise InvalidInput(
                f"{destination} is no GGUF file, so it is not replaced.", hint="Name another file."
            )


def _check_options(form: Form | None, quantize: str, imatrix_text: Path | None) -> None:
    if imatrix_text is not None and (form is None or form.floats):
        raise InvalidInput(f"An importance matrix changes nothing about {quantize}, which rounds no blocks.")
    if form is not None and form.needs_importance and imatrix_text is None:
        raise InvalidInput(
            f"{quantize} has too few bits to round without knowing which weights matter.",
            hint="Give a text like those the model will meet with --imatrix-text.",
        )


class _Work:
    """One conversion: its files lie in a scratch directory until they are whole."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        source: Path,
        scratch: Path,
        form: Form | None,
        licence: str | None,
        tell: Progress,
    ) -> None:
        self._checkpoint = checkpoint
        self._source = source
        self._scratch = scratch
        self._form = form
        self._tell = tell
        self._notes: list[str] = []
        self._licence = licence
        self._general: Keys = {}

    def write(
        self, destination: Path, quantize: str, prune: Sequence[int], imatrix_text: Path | None
    ) -> tuple[Path, Written]:
        """Return the finished file in the scratch directory, and what there is to say of it."""
        arch, form = self._checkpoint.architecture, self._form
        layers = layers_to_prune(arch, prune)
        directory = self._checkpoint.directory
        if directory is None and form is None and not layers:
            raise InvalidInput(f"{self._source.name} is such a file already.", hint="Choose a quantisation.")
        if directory is None or layers or not (form is None or form.floats):
            llamacpp.need_llamacpp()
        if directory is None:
            tokenizer = tokenizer_from_gguf(self._checkpoint.metadata)
            facts, vocabulary = special_tokens_from_gguf(self._checkpoint.metadata), None
        else:
            vocabulary = vocabulary_from_hf(directory, arch.vocab)
            tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
            facts = vocabulary.facts
        tokens = None if imatrix_text is None else text_tokens(imatrix_text, tokenizer)
        self._general = _origin(self._source, self._checkpoint, self._licence)
        whole = bool(layers)
        base = self._source if vocabulary is None else self._write_floats(vocabulary, whole=whole)
        pruned = self._prune(base, layers) if layers else None
        finished = self._quantise(pruned or base, tokens)
        check = self._check(base, pruned, finished, tokenizer)
        costs = self._perplexity(base, pruned, finished, tokenizer, facts)
        tensors = matrices_of(finished)
        if form is not None and not form.floats:
            self._notes += rounding_notes(form, tensors, self._checkpoint, self._source, layers)
        kinds = dict(Counter(tensor.kind for tensor in tensors.values()).most_common())
        written = Written(destination, quantize, kinds, layers, check, costs, tuple(self._notes))
        return finished, written

    def _write_floats(self, vocabulary: Vocabulary, *, whole: bool) -> Path:
        """Write the directory as it is, or at once in the form asked for where that is all there is to do."""
        form = self._form if self._form is not None and self._form.floats and not whole else None
        path = self._scratch / "floats.gguf"
        self._notes += write_floats(
            path,
            self._checkpoint,
            vocabulary,
            form,
            general=self._general,
            progress=lambda share: self._tell("weights", share),
        )
        return path

    def _texts(self, path: Path) -> dict[str, str]:
        """Return the keys that llama.cpp shall add: all, where it reads what we have not written."""
        return {k: str(v) for k, v in self._general.items()} if path == self._source else {}

    def _prune(self, path: Path, layers: tuple[int, ...]) -> Path:
        output = self._scratch / "pruned.gguf"
        texts = {**self._texts(path), "edgetts.pruned_layers": spans(layers)}
        llamacpp.quantise(
            path, output, None, prune=layers, texts=texts, progress=lambda share: self._tell("prune", share)
        )
        return output

    def _quantise(self, path: Path, tokens: list[int] | None) -> Path:
        """Let llama.cpp round what lies in `path`, if it has not the form asked for."""
        form = self._form
        written = {tensor.kind for tensor in matrices_of(path).values()}
        if form is None or (form.floats and path != self._source and written == {form.name.upper()}):
            return path
        importance = None
        if tokens is not None:
            importance = self._scratch / "importance.npz"
            with open_checkpoint(path) as current:
                write_importance(importance, current, tokens, lambda share: self._tell("importance", share))
            self._notes.append(f"which weights matter was seen on {len(tokens)} tokens of the text")
        output = self._scratch / "quantised.gguf"
        llamacpp.quantise(
            path,
            output,
            form.ftype,
            importance=importance,
            texts=self._texts(path),
            progress=lambda share: self._tell("quantise", share),
        )
        return output

    def _check(
        self, base: Path, pruned: Path | None, finished: Path, tokenizer: tokenizers.Tokenizer
    ) -> RoundTrip | None:
        # Opening reads every length, name and shape.
        open_checkpoint(finished).close()
        if not llamacpp.available():
            self._notes.append(
                "the file was not run: llama.cpp is not installed (pip install 'edgetts[llamacpp]')"
            )
            return None
        self._tell("check", 0.0)
        written = self._checkpoint.directory is not None
        expected = expect(self._checkpoint, tokenizer, lambda share: self._tell("check", share))
        trip = None
        if written:
            trip = round_trip(base, expected, tokenizer)
            # Written by us in floating point, whatever is made of it afterwards.
            must_be_exact(trip, coarsest_floats(base) or "F32")
        if pruned is not None:
            with open_checkpoint(pruned) as checkpoint:
                expected = expect(checkpoint, tokenizer, lambda share: self._tell("check", share))
        if trip is None or finished != base:
            trip = round_trip(finished, expected, tokenizer)
            if (kind := coarsest_floats(finished)) is not None:
                must_be_exact(trip, kind)
        if trip.same_tokens < trip.lines:
            self._notes.append(
                f"llama.cpp encodes {trip.lines - trip.same_tokens} of {trip.lines} lines otherwise than the "
                "source's tokenizer"
            )
        return trip

    def _perplexity(
        self,
        base: Path,
        pruned: Path | None,
        finished: Path,
        tokenizer: tokenizers.Tokenizer,
        facts: TokenizerFacts,
    ) -> Perplexity | None:
        if finished == base:
            return None
        tokens = perplexity_tokens(tokenizer, facts, self._checkpoint.architecture)
        self._tell("perplexity", 0.0)
        files = [base, pruned, finished] if pruned not in (None, finished) else [base, finished]
        before, *between, after = perplexities([file for file in files if file is not None], tokens)
        without = None if pruned is None else [*between, after][0]
        return Perplexity(len(tokens), before, without, after)


def _origin(source: Path, checkpoint: Checkpoint, licence: str | None) -> Keys:
    """Return the keys that say what a file was made of."""
    files = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
    names = ",".join(file.name for file in files).encode("utf-8", "replace").decode()
    keys: Keys = {"general.source.file": names, "edgetts.version": version("edgetts")}
    keys["general.source.sha256"] = ",".join(sha256_of(file) for file in files)
    if checkpoint.directory is not None:
        keys["general.name"] = checkpoint.source_name.encode("utf-8", "replace").decode()
    if stated := licence or checkpoint.licence:
        keys["general.license"] = stated
    return keys
