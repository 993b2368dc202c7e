"""What edgetts knows of providers and chips: data of `profiles/`, checked when it is read.

Looks for nothing on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import edgetts.profiles
from edgetts.errors import CorruptFile, InvalidInput
from edgetts.near_miss import near_miss
from edgetts.profiles.table import Table, parse_toml
from edgetts.runtimes.providers.entry import ProviderEntry

FORMAT = 1
KINDS = ("npu", "gpu", "cpu")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
_PROVIDER = re.compile(r"[A-Z][A-Za-z0-9]{0,39}ExecutionProvider")
_RELEASE = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")
_MOST = 200


@dataclass(frozen=True, slots=True)
class Soc:
    """A chip with an NPU. options: what its compiler wants to know, e.g. htp_arch and soc_model; source: of them."""

    name: str
    title: str
    provider: str
    options: Mapping[str, str]
    source: str


def find_soc(name: str) -> Soc:
    """Return the chip of that name, e.g. sm8650. Raises InvalidInput, with a near miss."""
    known = _socs()
    found = known.get(_plain(name))
    if found is None:
        raise InvalidInput(
            f"There is no chip {name!r} in the table.", hint=near_miss(_plain(name), known, _chips(), most=2)
        )
    return found


def all_socs() -> tuple[Soc, ...]:
    """Return every chip once, in the order of the table."""
    return tuple({soc.name: soc for soc in _socs().values()}.values())


def find_entry(name: str) -> ProviderEntry | None:
    """Return what is known of a provider by its short name or ONNX Runtime's, whatever the case; None is nothing."""
    wanted = name.strip().casefold()
    for entry in all_entries():
        if wanted in (entry.name, entry.provider.casefold()):
            return entry
    return None


@cache
def all_entries() -> tuple[ProviderEntry, ...]:
    """Return every provider of the table, in its order. Raises CorruptFile."""
    return read_providers(_data("providers.toml"), "profiles/providers.toml")


def read_socs(raw: bytes, what: str) -> Mapping[str, Soc]:
    """Read a table of chips, by name and alias. Raises CorruptFile, which names `what`."""
    top = _open(raw, what)
    sources = top.table("sources").texts(_MOST)
    rows = top.table("socs")
    top.end()
    found: dict[str, Soc] = {}
    for name in rows.names:
        row = rows.table(name)
        source = row.text("source")
        if source not in sources:
            raise row.wrong("source", "is none of those that the table names")
        aliases = row.text("aliases", "").split()
        soc = Soc(
            name,
            row.text("title"),
            _matching(_PROVIDER, row, "provider"),
            row.table("options").texts(_MOST),
            sources[source],
        )
        row.end()
        for one in (name, *aliases):
            if not _NAME.fullmatch(one):
                raise CorruptFile(f"{row.where} has a name that is none: {one!r}.")
            if one in found:
                raise CorruptFile(f"{row.where} is called {one}, as another chip is.")
            found[one] = soc
    return found


def read_providers(raw: bytes, what: str) -> tuple[ProviderEntry, ...]:
    """Read a table of providers. Raises CorruptFile, which names `what`."""
    top = _open(raw, what)
    rows = top.table("providers")
    top.end()
    found = tuple(_entry(name, rows.table(name)) for name in rows.names)
    names = [one for entry in found for one in (entry.name, entry.provider)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CorruptFile(f"{what} has providers of the same name: {', '.join(sorted(twice))}.")
    return found


def _entry(name: str, row: Table) -> ProviderEntry:
    if not _NAME.fullmatch(name):
        raise CorruptFile(f"{row.where} has a name that is none.")
    kinds = tuple(row.text("devices").split())
    if not kinds or len({*kinds}) < len(kinds) or not {*kinds} <= {*KINDS}:
        raise row.wrong("devices", f"must name some of {', '.join(KINDS)}, each once")
    on = row.optional_table("on")
    values = row.optional_table("options")
    entry = ProviderEntry(
        name=name,
        provider=_matching(_PROVIDER, row, "provider"),
        title=row.text("title"),
        devices=kinds,
        get=row.text("get"),
        source=row.text("source"),
        emulator=row.flag("emulator", False),
        module=row.text("module", ""),
        distribution=row.text("distribution", ""),
        extra=row.text("extra", ""),
        version=_matching(_RELEASE, row, "version", "0"),
        onnxruntime=_matching(_RELEASE, row, "onnxruntime", "0"),
        defaults=_texts(row, "defaults"),
        replaces=_texts(row, "replaces"),
        on={} if on is None else {kind: on.table(kind).texts(_MOST) for kind in on.names},
        values=None
        if values is None
        else {option: tuple(value.split()) for option, value in values.texts(_MOST).items()},
    )
    row.end()
    if bool(entry.module) != bool(entry.distribution):
        raise row.wrong("module", "and distribution go together")
    if not {*entry.on} <= {*kinds}:
        raise row.wrong("on", "must name kinds of its devices")
    try:
        for options in (entry.defaults, *entry.on.values()):
            entry.check(options)
    except InvalidInput as error:
        raise CorruptFile(f"{row.where} is wrong: {error.args[0]}") from error
    return entry


def _texts(row: Table, name: str) -> Mapping[str, str]:
    part = row.optional_table(name)
    return {} if part is None else part.texts(_MOST)


def _matching(pattern: re.Pattern[str], row: Table, name: str, default: str | None = None) -> str:
    value = row.text(name) if default is None else row.text(name, default)
    if not pattern.fullmatch(value):
        raise row.wrong(name, f"cannot be {value!r}")
    return value


def _open(raw: bytes, what: str) -> Table:
    top = parse_toml(raw, what)
    top.whole("format", FORMAT, FORMAT)
    return top


@cache
def _socs() -> Mapping[str, Soc]:
    return read_socs(_data("socs.toml"), "profiles/socs.toml")


def _data(name: str) -> bytes:
    path = Path(edgetts.profiles.__file__).with_name(name)
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorruptFile(
            f"edgetts' own {name} cannot be read: {error.strerror}.", hint="Install edgetts again."
        ) from error


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().casefold())


def _chips() -> str:
    return f"There are: {', '.join(soc.name for soc in all_socs())}."
