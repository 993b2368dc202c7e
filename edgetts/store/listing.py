"""Say what the cache holds, and remove it. Never fetches, converts or opens a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgetts.bundle import Manifest, read_manifest
from edgetts.errors import ModelNotFound
from edgetts.near_miss import near_miss
from edgetts.profiles.models import ModelEntry, Registry, hub_entry, load_registry
from edgetts.store.bundles import BUNDLE_RECORD, EXPORTER, manifest_of
from edgetts.store.home import Home, find_home, in_megabytes, key_for, size_on_disk, storage_errors
from edgetts.store.hub import partial_files
from edgetts.store.locks import clean_abandoned, scratch_space, unless_busy
from edgetts.store.names import LocalModel, find_model
from edgetts.store.records import BundleRecord, FirstFetch, SourceRecord, read_record
from edgetts.store.sources import MODEL_FILE, SOURCE_RECORD, read_first_fetch

_MUCH = 400


@dataclass(frozen=True, slots=True)
class Stored:
    """One thing in the cache. `size` is bytes on disk.

    state: 'bundle' is ready; 'old bundle' was made by an older exporter and is not used any more;
    'source' is a fetched file; 'vocabulary' the tokenizer of a file that llama.cpp runs; 'partial' a download
    to be resumed; 'damaged' has no readable record;
    'available' is not here yet.
    """

    name: str
    family: str
    size: int
    quantize: str
    licence: str
    state: str
    path: str
    key: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def list_models(*, home: Path | None = None) -> list[Stored]:
    """List everything the cache holds, by name."""
    cache = find_home(home)
    found = [_bundle(path) for path in _directories(cache.bundles, 2)]
    found += [_source(path) for path in _directories(cache.sources, 1)]
    for path in _directories(cache.vocabularies, 1):
        found.append(Stored(path.name, "", size_on_disk(path), "", "", "vocabulary", str(path), path.name))
    for path in sorted(cache.partial.glob("*@*.part")):
        key = path.name.rpartition("@")[0]
        found.append(Stored(key, "", size_on_disk(path), "", "", "partial", str(path), key))
    return sorted(found, key=lambda stored: (stored.name, stored.state, stored.quantize))


def list_available(*, home: Path | None = None, registry: Registry | None = None) -> list[Stored]:
    """List the registry's models of which the cache holds nothing; `size` is the download's, 0 if unknown."""
    here = {stored.key for stored in list_models(home=home)}
    return [
        Stored(
            entry.name,
            entry.family or "",
            entry.size or 0,
            entry.quantize,
            entry.licence or "",
            "available",
            entry.source.place,
            entry.name,
        )
        for entry in (registry or load_registry()).entries.values()
        if entry.name not in here
    ]


def find_stored(name: str, *, home: Path | None = None) -> list[Stored]:
    """Return what the cache holds of one model; ModelNotFound names near misses."""
    listed = list_models(home=home)
    found = [stored for stored in listed if stored.key == _key(name)]
    if not found:
        hint = near_miss(name, sorted({stored.name for stored in listed}), most=3) or "The cache is empty."
        raise ModelNotFound(f"The cache holds nothing called {name!r}.", hint=hint)
    return found


def total_size(name: str, *, forget: bool = False, home: Path | None = None) -> int:
    """Return the bytes that `remove_model` would free; raises ModelNotFound like it."""
    cache = find_home(home)
    if forget and _first_fetch_file(cache, name).exists():
        return sum(stored.size for stored in list_models(home=home) if stored.key == _key(name))
    return sum(stored.size for stored in find_stored(name, home=home))


def remove_model(name: str, *, forget: bool = False, home: Path | None = None) -> int:
    """Remove a model's bundles, source and partial downloads; return the bytes that frees.

    The checksum of an unpinned model's first fetch stays, unless `forget`. Raises StorageError while
    another process pulls or converts it.
    """
    cache = find_home(home)
    clean_abandoned(cache)
    freed, key = total_size(name, forget=forget, home=home), _key(name)
    with unless_busy(cache, key), scratch_space(cache) as scratch, storage_errors(cache.root):
        doomed = [cache.bundles / key, cache.sources / key, cache.vocabularies / key]
        doomed += partial_files(cache, key)
        for number, path in enumerate(doomed):
            if path.exists():
                # Renamed first: a removal that is interrupted leaves nothing that looks whole.
                path.replace(scratch / f"removed-{number}")
        if forget:
            _first_fetch_file(cache, name).unlink(missing_ok=True)
    return freed


def describe_model(
    name: str, *, home: Path | None = None, registry: Registry | None = None
) -> dict[str, Any]:
    """Tell all that is known of a model: its entry, what vouches for its bytes, what the cache holds."""
    cache = find_home(home)
    known = registry or load_registry()
    listed = [stored for stored in list_models(home=home) if stored.name == name or stored.key == name]
    if listed and name not in known.entries and not name.startswith("hf:"):
        # A local model's conversions, named as `ls` names them.
        return {
            "name": name,
            "entry": None,
            "checksum": None,
            "stored": [_detail(stored) for stored in listed],
        }
    target = find_model(name, known)
    if isinstance(target, LocalModel) and target.kind == "bundle":
        return {"name": str(target.path), "entry": None, "checksum": None, "manifest": summary(target.path)}
    key = key_for(target.name)
    stored = [_detail(one) for one in list_models(home=home) if one.key == key]
    if isinstance(target, LocalModel):
        return {"name": target.name, "entry": None, "checksum": None, "stored": stored}
    return {
        "name": target.name,
        "entry": target.to_json(),
        "checksum": _checksum(target, read_first_fetch(cache, key)),
        "stored": stored,
    }


def summary(bundle: Path) -> dict[str, Any]:
    """Return a manifest with its long tables replaced by their lengths, and of a static one what it is for."""
    manifest = manifest_of(bundle)
    found = {name: _shortened(value) for name, value in manifest.items()}
    if isinstance(manifest.get("static"), dict):
        found["static"] = _static_summary(read_manifest(bundle))
    return found


def _shortened(value: Any) -> Any:
    return f"{len(value)} entries" if isinstance(value, (dict, list)) and len(repr(value)) > _MUCH else value


def _static_summary(manifest: Manifest) -> dict[str, Any]:
    """Return the target, widths and compiled chips of a static bundle. Lengths in tokens."""
    note = manifest.static
    assert note is not None  # noqa: S101 - its manifest says that there is one
    found: dict[str, Any] = {
        "target": note.target,
        "context": manifest.context,
        "chunk": note.chunk,
        "draft_width": note.draft_width,
        "graphs": f"{len(note.graphs)}, over {', '.join(map(str, note.widths))} tokens",
    }
    if (cost := note.precision) is not None:
        found["same_first_choice"] = f"{cost.top1:.1%} of {cost.positions} tokens, as in float32"
    found["compiled"] = [
        f"{one.soc}, by {one.provider} {one.version}, {in_megabytes(one.bytes)}" for one in note.compiled
    ]
    return found


def _key(name: str) -> str:
    return key_for(hub_entry(name).name if name.startswith("hf:") else name)


def _first_fetch_file(home: Home, name: str) -> Path:
    return home.first_fetches / f"{_key(name)}.json"


def _detail(stored: Stored) -> dict[str, Any]:
    data = stored.to_json()
    if stored.state in ("bundle", "old bundle"):
        data["manifest"] = summary(Path(stored.path))
    return data


def _checksum(entry: ModelEntry, first: FirstFetch | None) -> dict[str, Any]:
    if entry.sha256 is not None:
        return {"sha256": entry.sha256, "promised_by": "the registry"}
    if first is not None:
        witness = f"the first fetch, {first.date}, trusted as it came"
        return {"sha256": first.sha256, "promised_by": witness, "commit": first.commit}
    return {"sha256": None, "promised_by": "nobody yet: the first fetch will be trusted and recorded"}


def _directories(root: Path, depth: int) -> list[Path]:
    """Return the directories `depth` levels below `root`, links left out."""
    found = [root]
    for _ in range(depth):
        below = (entry for path in found if path.is_dir() for entry in path.iterdir())
        found = [entry for entry in below if entry.is_dir() and not entry.is_symlink()]
    return sorted(found)


def _bundle(directory: Path) -> Stored:
    key, size = directory.parent.name, size_on_disk(directory)
    record = read_record(directory / BUNDLE_RECORD, BundleRecord)
    path = directory / f"{key}.edge"
    if record is None or not (path / "manifest.json").is_file():
        return Stored(key, "", size, "", "", "damaged", str(directory), key)
    state = "bundle" if record.exporter == EXPORTER else "old bundle"
    return Stored(record.name, record.family, size, record.quantize, record.licence, state, str(path), key)


def _source(directory: Path) -> Stored:
    key, size = directory.name, size_on_disk(directory)
    record = read_record(directory / SOURCE_RECORD, SourceRecord)
    path = directory / MODEL_FILE
    if record is None or not path.is_file():
        return Stored(key, "", size, "", "", "damaged", str(directory), key)
    return Stored(record.name, record.family, size, "", record.licence, "source", str(path), key)
