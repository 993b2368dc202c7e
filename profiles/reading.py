"""Read profiles from TOML that anybody may have written: every value is checked before it is a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

from edgetts.errors import BundleVersionError
from edgetts.profiles.curves import StepTimes
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.device_reading import device_in, power_in
from edgetts.profiles.speed import Guessing, Made, MemoryUse, Scope, SpeedProfile, Sustained
from edgetts.profiles.table import Table, parse_toml
from edgetts.profiles.writing import FORMAT, PARTS

_TINY = 1e-9
_DAY = 86_400.0
_BYTES = 1 << 50
_WIDTH = 1 << 16
_TOKENS = 1 << 30
_POINTS = 64
_THREADS = 1024
_SPEEDS = 256
_SOURCES = ("measured", "modelled", "learned", "default")


@dataclass(frozen=True, slots=True)
class Exported:
    """What one machine passes on: what it is, and what was measured of models on it."""

    device: DeviceProfile
    speeds: tuple[SpeedProfile, ...] = ()


def read_speed(raw: bytes, what: str) -> SpeedProfile:
    """Read the document of one speed profile. Errors: CorruptFile, BundleVersionError, which name `what`."""
    top = _open(raw, what, ("speed",))
    profile = _speed(top)
    top.end()
    return profile


def read_device(raw: bytes, what: str) -> tuple[DeviceProfile, Mapping[str, str]]:
    """Read the document of one device, and the facts of the machine it was measured on, if any. Errors: as `read_speed`."""
    top = _open(raw, what, ("device",))
    facts = top.table("facts").texts(16) if "facts" in top else {}
    profile = device_in(top)
    top.end()
    return profile, facts


def read_exported(raw: bytes, what: str) -> Exported:
    """Read an exported document, or that of a device alone. Errors: as `read_speed`."""
    top = _open(raw, what, ("export", "device"))
    if "device" not in top:
        if "facts" in top:
            top.table("facts").texts(16)
        device = device_in(top)
        top.end()
        return Exported(device)
    part = top.table("device")
    device = device_in(part)
    part.end()
    speeds = []
    for table in top.tables("speeds", _SPEEDS):
        speeds.append(_speed(table))
        table.end()
    top.end()
    return Exported(device, tuple(speeds))


def _open(raw: bytes, what: str, kinds: tuple[str, ...]) -> Table:
    top = parse_toml(raw, what)
    version = top.whole("format", 1, 1 << 31)
    if version > FORMAT:
        raise BundleVersionError(
            f"{what} was written by a newer edgetts (format {version}; this one reads {FORMAT}).",
            hint="Upgrade edgetts, or measure again: edgetts calibrate",
        )
    top.word("document", kinds)
    return top


def _speed(table: Table) -> SpeedProfile:
    mark = table.text("mark")
    if not is_mark(mark):
        raise table.wrong("mark", "is not a fingerprint")
    missing = [part for part in table.words("parts", PARTS) if part not in table]
    if missing:
        raise table.wrong(missing[0], "is missing, although it is named among its parts")
    memory, sustained, power = (table.optional_table(name) for name in ("memory", "sustained", "power"))
    return SpeedProfile(
        mark=mark,
        model=table.text("model"),
        runtime=table.text("runtime"),
        facts=table.table("facts").texts(32),
        made=_made(table.table("made")),
        times=_times(table.table("times")),
        memory=None if memory is None else _memory(memory),
        threads=_threads(table),
        guessing=tuple(_guessing(one) for one in table.tables("guessing", _POINTS)),
        sustained=None if sustained is None else _sustained(sustained),
        power=None if power is None else power_in(power),
        run_threads=table.whole("run_threads", 0, _THREADS, 0),
    )


def is_mark(text: str) -> bool:
    """Tell whether a text may be a fingerprint, and so a file's name."""
    return 0 < len(text) <= 64 and set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789")


def _made(table: Table) -> Made:
    date = table.day("date")
    scope = table.word("scope", get_args(Scope))
    versions = table.optional_table("versions")
    earlier = table.optional_table("earlier")
    days = {} if earlier is None else {name: earlier.day(name) for name in earlier.names[:16]}
    doubt = table.text("doubt", "")
    for part in (earlier, table):
        if part is not None:
            part.end()
    return Made(date, scope, {} if versions is None else versions.texts(32), days, doubt)


def _times(table: Table) -> StepTimes:
    prompts = []
    for point in table.tables("prompts", _POINTS, needed=True):
        prompts.append((point.whole("tokens", 1, _TOKENS), point.number("seconds", _TINY, _DAY)))
        point.end()
    times = StepTimes(
        widths=table.wholes("widths", 1, _WIDTH, _POINTS),
        seconds=table.numbers("seconds", _TINY, _DAY, _POINTS),
        prefill_rate=table.number("prefill_rate", _TINY, 1e12),
        source=table.word("source", _SOURCES),
        date=table.day("date", ""),
        exact_prompts=table.flag("exact_prompts"),
        opening=table.number("opening", 0.0, _DAY),
        past=table.whole("past", 0, _TOKENS),
        growth=table.number("growth", 0.0, 1.0),
        prompts=tuple(prompts),
        spread=table.number("spread", 0.0, 1e3),
    )
    table.end()
    if times.source == "measured" and not times.date:
        raise table.wrong("date", "is missing, as of everything that is measured")
    if not len(times.widths) == len(times.seconds) > 0:
        raise table.wrong("seconds", "must have one entry for each of widths")
    if not _rising(times.widths) or not _rising([tokens for tokens, _ in prompts]):
        raise table.wrong("widths or prompts", "must rise from entry to entry")
    if list(times.seconds) != sorted(times.seconds):
        raise table.wrong("seconds", "must not fall where the width rises")
    if [seconds for _, seconds in prompts] != sorted(seconds for _, seconds in prompts):
        raise table.wrong("prompts", "must not take less where they are longer")
    return times


def _rising(values: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(values))


def _threads(table: Table) -> tuple[tuple[int, float], ...]:
    points = []
    for point in table.tables("threads", _POINTS):
        points.append((point.whole("threads", 1, _THREADS), point.number("seconds", _TINY, _DAY)))
        point.end()
    if len({count for count, _ in points}) != len(points):
        raise table.wrong("threads", "must name each number of threads once")
    return tuple(points)


def _memory(table: Table) -> MemoryUse:
    use = MemoryUse(*(table.whole(name, 0, _BYTES) for name in ("model", "token", "branch")))
    table.end()
    return use


def _guessing(table: Table) -> Guessing:
    guessing = Guessing(
        drafter=table.text("drafter"),
        seconds=table.number("seconds", 0.0, _DAY),
        right=table.number("right", 0.0, 1.0),
        gain=table.number("gain", 0.0, 1e3),
    )
    table.end()
    return guessing


def _sustained(table: Table) -> Sustained:
    sustained = Sustained(table.number("seconds", _TINY, _DAY), table.number("ratio", _TINY, 1e3))
    table.end()
    return sustained
