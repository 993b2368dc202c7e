"""Turn a model's name or path into a bundle that is ready to open: fetch, check, convert, at most once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from edgetts.errors import CorruptFile, InvalidInput
from edgetts.profiles.models import ModelEntry, Quantize, Registry, check_quantize, load_registry
from edgetts.store.home import Home, find_home, full_disk, key_for, publish, storage_errors
from edgetts.store.locks import clean_abandoned, scratch_space, working_on
from edgetts.store.names import LocalModel, find_model, fingerprint
from edgetts.store.progress import Progress, ignore_progress
from edgetts.store.records import BundleRecord, now, read_json, read_record, write_record
from edgetts.store.sources import MODEL_FILE, ensure_source, known_sha256

EXPORTER = 4
"""Raise it when `edgetts.export` makes something else of the same source: bundles are then made anew."""

BUNDLE_RECORD = "bundle.json"


class Converter(Protocol):
    """What `edgetts.export.convert` is: write a bundle for `source` to the new directory `destination`.

    `licence` is None where only the source itself may know it.
    """

    def __call__(
        self,
        source: Path,
        destination: Path,
        *,
        quantize: str,
        name: str,
        licence: str | None,
        progress: Progress | None,
    ) -> Path: ...


def resolve(
    model: str | Path | None = None,
    *,
    offline: bool = False,
    quantize: str | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
    converter: Converter | None = None,
    home: Path | None = None,
    registry: Registry | None = None,
) -> Path:
    """Return the directory of a ready bundle for a name, 'hf:owner/repo/file.gguf@revision' or a path.

    None is the default model. What is in the cache is used as it is; otherwise the file is fetched
    (unless `offline`, or HF_HUB_OFFLINE=1) and converted, by one process while others wait. `notify`
    gets sentences for the user. Raises ModelNotFound, ModelFileError, DownloadError, StorageError.
    """
    cache = find_home(home)
    clean_abandoned(cache)
    target = find_model(model, registry or load_registry())
    if isinstance(target, LocalModel) and target.kind == "bundle":
        if quantize is not None:
            raise InvalidInput(
                f"{target.path} is a bundle already: it cannot be quantised again.",
                hint="Leave --quantize out, or give the GGUF file it was made from.",
            )
        return target.path
    default: Quantize = "keep" if isinstance(target, LocalModel) else target.quantize
    chosen = default if quantize is None else check_quantize(quantize)
    key = key_for(target.name)

    if (identity := _identity(cache, target)) and (ready := find_bundle(cache, key, chosen, identity)):
        return ready
    say, show = notify or _silent, progress or ignore_progress
    with working_on(cache, key, say):
        if (identity := _identity(cache, target)) and (ready := find_bundle(cache, key, chosen, identity)):
            return ready
        with scratch_space(cache) as scratch:
            if isinstance(target, LocalModel):
                source, identity, title = target.path, fingerprint(target.path), target.path.stem
                family, licence = "", ""
            else:
                fetched = ensure_source(cache, target, scratch, offline=offline, progress=show, notify=say)
                source, identity, title = cache.sources / key / MODEL_FILE, fetched.sha256, target.name
                family, licence = target.family or "", target.licence or ""
            say(f"Converting {target.name} for this device (quantisation: {chosen}).")
            record = BundleRecord(
                name=target.name,
                family=family,
                licence=licence,
                quantize=chosen,
                identity=identity,
                exporter=EXPORTER,
                bundle=f"{key}.edge",
                made=now(),
            )
            directory = _bundle_directory(cache, key, chosen, identity)
            finished = scratch / "bundle"
            with storage_errors(cache.scratch):
                finished.mkdir()
            with full_disk(cache.root):
                destination = finished / record.bundle
                convert = converter or _exporter()
                convert(
                    source,
                    destination,
                    quantize=chosen,
                    name=title,
                    licence=licence or None,
                    progress=lambda stage, fraction: show(f"Converting: {stage}", fraction),
                )
            with storage_errors(cache.bundles):
                write_record(finished / BUNDLE_RECORD, _completed(record, destination))
                if directory.exists():  # left without a readable record: of no use, and in the way
                    directory.replace(scratch / "damaged-bundle")
                publish(finished, directory)
            return directory / record.bundle


def find_bundle(home: Home, key: str, quantize: str, identity: str) -> Path | None:
    """Return a bundle of the present exporter, or None. Touches nothing, so a read-only cache will do."""
    directory = _bundle_directory(home, key, quantize, identity)
    record = read_record(directory / BUNDLE_RECORD, BundleRecord)
    if record is None or record.identity != identity:
        return None
    bundle = directory / f"{key}.edge"
    return bundle if (bundle / "manifest.json").is_file() else None


def _bundle_directory(home: Home, key: str, quantize: str, identity: str) -> Path:
    return home.bundles / key / f"{quantize}-{identity[:16]}-x{EXPORTER}"


def _identity(home: Home, target: ModelEntry | LocalModel) -> str | None:
    return fingerprint(target.path) if isinstance(target, LocalModel) else known_sha256(home, target)


def _completed(record: BundleRecord, bundle: Path) -> BundleRecord:
    """Take from the manifest what was not known before: a local file's family and licence."""
    manifest = manifest_of(bundle)
    architecture = manifest.get("architecture")
    family = architecture.get("family") if isinstance(architecture, dict) else None
    return replace(
        record,
        family=record.family or str(family or "unknown"),
        licence=record.licence or str(manifest.get("licence") or "unknown"),
    )


def manifest_of(bundle: Path) -> dict[str, Any]:
    """Read a bundle's manifest as plain JSON; what it says is the opener's to check."""
    try:
        return read_json(bundle / "manifest.json")
    except OSError as error:
        raise CorruptFile(f"The bundle {bundle} has no readable manifest: {error.strerror}.") from error


def _exporter() -> Converter:
    from edgetts.export import convert

    return convert


def _silent(sentence: str) -> None:
    """Say nothing."""
