"""Put graphs compiled for a chip into a bundle: at every moment it is whole, with the old ones or the new."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgetts.bundle import read_manifest
from edgetts.checksum import sha256_of
from edgetts.errors import InvalidInput
from edgetts.export.writing import replace_manifest
from edgetts.static_form import COMPILED, CompiledNote, StaticNote


def install(bundle: Path, files: Path, compiled_of: StaticNote, note: CompiledNote) -> CompiledNote:
    """Move the files of a directory into the bundle, name them in its manifest, and return the note as it stands there.

    note: whose graphs are named by files of that directory. What was compiled for the same chip before goes. Raises
    OSError, and InvalidInput where the bundle's graphs are no longer those that were compiled.
    """
    hashes = {path.name: sha256_of(path) for path in sorted(files.iterdir())}
    directory = f"{COMPILED}/{_directory_name(note, hashes)}"
    there = bundle / directory
    manifest = read_manifest(bundle)
    if manifest.static is None or manifest.static.graphs != compiled_of.graphs:
        raise InvalidInput(
            f"The bundle {bundle.name} was replaced while its graphs were compiled.", hint="Compile it again."
        )
    old = [one for one in manifest.static.compiled if one.soc == note.soc]
    old_directories = {Path(file).parent.as_posix() for one in old for file in one.graphs.values()}
    complete = replace(
        note,
        graphs={graph: f"{directory}/{file}" for graph, file in note.graphs.items()},
        bytes=sum((files / name).stat().st_size for name in hashes),
    )
    others = tuple(one for one in manifest.static.compiled if one.soc != note.soc)
    kept = {
        name: sha
        for name, sha in manifest.files.items()
        if Path(name).parent.as_posix() not in old_directories
    }
    static = replace(manifest.static, compiled=(*others, complete))
    hashed = {f"{directory}/{name}": sha for name, sha in hashes.items()}
    try:
        there.mkdir(parents=True, exist_ok=True)
        for name in hashes:
            (files / name).replace(there / name)
        replace_manifest(bundle, replace(manifest, static=static, files={**kept, **hashed}))
    except BaseException:
        if directory not in old_directories:
            _remove(bundle, [directory])
        raise
    _remove(bundle, old_directories - {directory})
    return complete


def _directory_name(note: CompiledNote, hashes: dict[str, str]) -> str:
    """Return a name that other contents do not have, so that what is there stays whole until it is replaced."""
    provider = note.provider.removesuffix("ExecutionProvider").lower()
    digest = hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"{note.soc}-{provider}-{note.version}-{digest}")


def _remove(bundle: Path, directories: Iterable[str]) -> None:
    for directory in directories:
        shutil.rmtree(bundle / directory, ignore_errors=True)
    # Where it is empty now.
    if (top := bundle / COMPILED).is_dir() and not any(top.iterdir()):
        shutil.rmtree(top, ignore_errors=True)
