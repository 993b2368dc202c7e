"""Say which operators of a graph a provider takes, which are left to the CPU, why, and how much of the model that is.

Joins what ONNX Runtime reports (`assignment`) to what operators read and multiply (`workload`). An operator that is
gone when it runs, because ONNX Runtime simplified the graph, is counted as simplified away; unless it has weights or
multiplies, for then its work is in what reads its result, and it counts there.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgetts.runtimes.delegation.assignment import Assignment, Found, assignment
from edgetts.runtimes.delegation.workload import Work, workload
from edgetts.runtimes.providers.finding import Provider

# ONNX Runtime names copies of a node, and nodes that it rewrote, after the first.
_COPY = re.compile(r"(/duplicated|_token_\d+)+$")


@dataclass(frozen=True, slots=True)
class Placed:
    """An operator and where it runs.

    provider: None where ONNX Runtime simplified it away. reason: why not where it was wanted, in that provider's
    words. An operator that ONNX Runtime itself added is here where the provider does not take it.
    """

    name: str
    type: str
    provider: str | None
    reason: str = ""
    weight_bytes: int = 0
    macs: int | None = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What the provider takes of a whole."""

    part: int
    whole: int

    @property
    def ratio(self) -> float:
        return self.part / self.whole if self.whole else 1.0


@dataclass(frozen=True, slots=True)
class TypeRow:
    """All operators of one type: how many run on the provider and on the CPU, or were simplified away.

    weight_bytes, macs: of all of them. elsewhere: names of those on the CPU. reasons: with how often each was given.
    """

    type: str
    there: int = 0
    folded: int = 0
    weight_bytes: int = 0
    macs: int = 0
    elsewhere: tuple[str, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delegation:
    """Where the operators of one or several graphs run. fixed: whether the graphs' inputs have fixed shapes."""

    provider: str
    placed: tuple[Placed, ...]
    fixed: bool = True

    @property
    def operators(self) -> Share:
        """Operators that run."""
        return self._share(lambda one: 1)

    @property
    def weights(self) -> Share:
        """Bytes of weights."""
        return self._share(lambda one: one.weight_bytes)

    @property
    def macs(self) -> Share:
        """Multiply-accumulates of one pass, those that shapes tell."""
        return self._share(lambda one: one.macs or 0)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Types of operators that multiply, though the graph's shapes do not say how often."""
        return tuple(sorted({one.type for one in self.placed if one.macs is None}))

    @property
    def unsupported(self) -> tuple[Placed, ...]:
        """Operators that the provider does not take."""
        return tuple(one for one in self.placed if one.provider not in (None, self.provider))

    @property
    def rows(self) -> tuple[TypeRow, ...]:
        """One row a type: those left to the CPU first, then by what they multiply."""
        types: dict[str, list[Placed]] = {}
        for one in self.placed:
            types.setdefault(one.type, []).append(one)
        rows = (self._row(kind, ones) for kind, ones in types.items())
        return tuple(sorted(rows, key=lambda row: (-len(row.elsewhere), -row.macs, -row.there, row.type)))

    def _row(self, kind: str, ones: list[Placed]) -> TypeRow:
        away = [one for one in ones if one.provider not in (None, self.provider)]
        reasons: dict[str, int] = {}
        for one in away:
            reasons[one.reason] = reasons.get(one.reason, 0) + 1
        return TypeRow(
            kind,
            sum(one.provider == self.provider for one in ones),
            sum(one.provider is None for one in ones),
            sum(one.weight_bytes for one in ones),
            sum(one.macs or 0 for one in ones),
            tuple(one.name for one in away),
            reasons,
        )

    def _share(self, of: Callable[[Placed], int]) -> Share:
        here = sum(of(one) for one in self.placed if one.provider == self.provider)
        return Share(here, sum(of(one) for one in self.placed if one.provider is not None))


def together(delegations: Iterable[Delegation]) -> Delegation:
    """Return what several graphs of one model come to. They are of one provider, and at least one."""
    ones = tuple(delegations)
    return Delegation(
        ones[0].provider, tuple(p for one in ones for p in one.placed), all(one.fixed for one in ones)
    )


def delegation(
    graph: Path | bytes, provider: Provider, options: Mapping[str, str], *, threads: int | None = None
) -> Delegation:
    """Return where the operators of a graph run.

    graph: a file, its weights beside it, or a model that is whole. options: the provider's, as for `session_options`.
    Raises what `open_graph` raises, ModelNotFound, CorruptFile, and Unsupported where ONNX Runtime is too old.
    """
    work = workload(graph)
    found = assignment(graph, provider, options, renamed=work.renamed, threads=threads)
    return Delegation(provider.name, tuple(_place(work.operators, found, provider.name)), work.fixed)


def without_place(provider: str, operators: Iterable[Placed]) -> str:
    """Say in one sentence which operators a provider does not take, and why: three types at most."""
    rows = Delegation(provider, tuple(operators)).rows
    said = [f"{row.type} ({_why(row)})" for row in rows[:3]]
    rest = len(rows) - len(said)
    more = f", and {rest} {'type' if rest == 1 else 'types'} more" if rest else ""
    return f"{provider} does not take {', '.join(said)}{more}."


def _why(row: TypeRow) -> str:
    count = len(row.elsewhere)
    named = row.elsewhere[0] if count == 1 else f"{count} of them, such as {row.elsewhere[0]}"
    return ": ".join([named, *filter(None, list(row.reasons)[:1])])


def _place(operators: tuple[Work, ...], found: Assignment, provider: str) -> Iterator[Placed]:
    """Join operators to the nodes found, which ONNX Runtime may have renamed, copied, added or dropped."""
    known = {name for one in operators for name in (one.name, *one.rounding)}
    places = {node.name: node for node in found.nodes if node.name in known}
    added = []
    for node in found.nodes:
        if node.name not in known:
            origin = _origin(node.name, known)
            stands = places.setdefault(origin, node) if origin is not None else None
            if node.provider not in (provider, None if stands is None else stands.provider):
                added.append(node)
    by_name = {one.name: one for one in operators}
    for one in operators:
        place = places.get(one.name)
        if place is None and (one.weight_bytes or one.macs != 0):
            # The node is gone, but not its work: what reads its result has taken it in.
            place = _reader(one, by_name, places)
        if place is None:
            yield Placed(one.name, one.type, None, "", one.weight_bytes, one.macs)
            continue
        reason = found.reasons.get(place.name, "") if place.provider != provider else ""
        yield Placed(one.name, one.type, place.provider, reason, one.weight_bytes, one.macs)
        parts = (places[part] for part in one.rounding if part in places)
        added += [part for part in parts if part.provider not in (provider, place.provider)]
    for extra in added:
        yield Placed(extra.name, extra.type, extra.provider, found.reasons.get(extra.name, ""))


def _origin(name: str, known: set[str]) -> str | None:
    """Return the node of the graph that one of another name was made of: X/Fusion or X_token_8 of X."""
    name = _COPY.sub("", name)
    while name not in known:
        if "/" not in name:
            return None
        name = name.rpartition("/")[0]
    return name


def _reader(one: Work, operators: Mapping[str, Work], places: Mapping[str, Found]) -> Found | None:
    """Return the first node that is left among those that read what an operator writes, directly or not."""
    seen = {one.name}
    waiting = deque(one.feeds)
    while waiting:
        name = waiting.popleft()
        if name in places:
            return places[name]
        if name not in seen:
            seen.add(name)
            waiting.extend(operators[name].feeds)
    return None
