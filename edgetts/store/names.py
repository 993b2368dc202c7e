"""What a user means by a model's name: registry, Hub or a path. Knows names and paths; fetches nothing."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetts.errors import CorruptFile, InvalidInput, ModelFileError, ModelNotFound, UnsupportedModel
from edgetts.profiles.models import ModelEntry, Registry, hub_entry
from edgetts.store.home import unique_key

_ENDINGS = (".gguf", ".edge", ".safetensors")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Something on this machine's disk, outside the cache."""

    path: Path
    kind: Literal["bundle", "gguf", "directory"]

    @property
    def name(self) -> str:
        """Name its conversions in the cache: readable, and different for every path."""
        return unique_key(self.path.stem, str(self.path))


def find_model(model: str | Path | None, registry: Registry) -> ModelEntry | LocalModel:
    """Tell what `model` is; None is the default. A name in the registry wins over a file of that name.

    Raises ModelNotFound with near misses, or a ModelFileError for a path that is no model.
    """
    if model is None:
        return registry.find(registry.default)
    if isinstance(model, Path):
        return inspect_path(model)
    if not model or "\0" in model:
        raise InvalidInput("The model's name is empty or no text.", hint="Name a model, or a path to one.")
    if model.startswith("hf:"):
        return hub_entry(model)
    if model in registry.entries:
        return registry.entries[model]
    separators = {"/", os.sep, os.altsep or os.sep}
    looks_like_a_path = model.startswith((".", "~")) or model.endswith(_ENDINGS)
    if looks_like_a_path or any(separator in model for separator in separators) or Path(model).exists():
        return inspect_path(Path(model).expanduser())
    return registry.find(model)


def inspect_path(path: Path) -> LocalModel:
    """Tell a GGUF file, a bundle and a Hugging Face directory apart by what they hold."""
    try:
        path = path.resolve(strict=True)
        if path.is_file():
            with path.open("rb") as file:
                magic = file.read(4)
            if magic == b"GGUF":
                return LocalModel(path, "gguf")
            hint = "Pass the directory that holds it." if path.suffix == ".safetensors" else ""
            raise CorruptFile(f"{path} is not a GGUF file: it does not start with 'GGUF'.", hint=hint)
        names = {entry.name for entry in path.iterdir()}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFound(
            f"There is no file or directory {str(path)!r}.",
            hint="For a file on the Hub write hf:owner/repo/file.gguf; 'edgetts ls --all' lists names.",
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise ModelFileError(f"{path} cannot be read: {error}.") from error
    if "manifest.json" in names:
        return LocalModel(path, "bundle")
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        return LocalModel(path, "directory")
    raise UnsupportedModel(
        f"{path} is neither a bundle (manifest.json) nor a Hugging Face model (config.json, *.safetensors).",
        hint="Pass a GGUF file, a NAME.edge directory or a directory with safetensors weights.",
    )


def fingerprint(path: Path) -> str:
    """Identify a local model's present state by its files' names, sizes and times, without reading them."""
    files = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((str(path), state)).encode(errors="surrogateescape")).hexdigest()
