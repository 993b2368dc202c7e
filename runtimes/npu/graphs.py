"""Open the graphs of a static bundle, compiled ones where they fit, and check that they are what its manifest says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from edgetts.architecture import Architecture
from edgetts.bundle import Manifest
from edgetts.errors import CorruptFile
from edgetts.runtimes.npu.compiled import misfit
from edgetts.runtimes.npu.options import NpuOptions
from edgetts.runtimes.npu.placing import Place, Placement
from edgetts.runtimes.npu.ports import Port, WrongPort, input_shapes, output_shapes, read_ports
from edgetts.runtimes.providers.finding import open_graph, session_options
from edgetts.static_form import CompiledNote, GraphNote, StaticNote

# Packed weights are a copy for each width, where mapped ones are the same pages for all (ONNX Runtime shares packed
# ones between sessions in C only). SmolLM2 in float32 takes 26 ms a token with mapped weights and 24 with packed ones,
# a chunk of 64 takes 171 and 148 ms, but six tokens take 57 and 31: only verifying a draft is worth a copy.
_MAPPED: Mapping[str, str] = {"session.disable_prepacking": "1"}
# A binary may hold a segment's graphs of all widths: the first that is opened reads all, and the others take theirs
# from where a provider keeps them for the whole process, so nobody else may open any in between.
_SHARED: Mapping[str, str] = {"ep.share_ep_contexts": "1"}
_SHARING = threading.Lock()


@dataclass(frozen=True, slots=True)
class OpenGraph:
    """A graph that is ready to run, with its ports by name."""

    note: GraphNote
    session: ort.InferenceSession
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]


class StaticGraphs:
    """The graphs of a bundle by segment and width, each opened once.

    On the CPU, widths are opened when they are first used: that takes tenths of a second, and whoever never
    speculates needs no graphs for it. Other providers open all at once: compiling may take minutes or fail, which
    nobody wants to learn in the middle of an answer, and widths that share a binary are read together.
    """

    def __init__(
        self, bundle: Path, manifest: Manifest, note: StaticNote, placement: Placement, options: NpuOptions
    ) -> None:
        self._bundle, self._manifest, self._note, self._options = bundle, manifest, note, options
        self._places = placement.segments
        self._notes = {(g.start, g.stop, g.width): g for g in note.graphs}
        self._open: dict[GraphNote, OpenGraph] = {}
        self._compiled: dict[str, CompiledNote | None] = {}
        self._made: dict[tuple[str, ...], ort.SessionOptions] = {}
        remarks = [*placement.remarks]
        for provider in dict.fromkeys(p.provider.name for p in self._places if not p.on_cpu):
            place = next(p for p in self._places if p.provider.name == provider)
            self._compiled[provider] = self._matching(place, remarks)
        self.remarks = tuple(remarks)
        with _SHARING:
            for graph in note.graphs:
                if not self._place(graph).on_cpu:
                    self._get(graph)

    @property
    def arch(self) -> Architecture:
        arch = self._manifest.architecture
        assert isinstance(arch, Architecture)  # noqa: S101 - sizes alone are those of concatenating graphs
        return arch

    def layers(self, width: int) -> list[OpenGraph]:
        """Return the graphs of all segments over passes of one width."""
        return [self._get(self._notes[s.start, s.stop, width]) for s in self._manifest.segments]

    def head(self, width: int) -> OpenGraph:
        """Return the graph of the head over so many rows."""
        depth = self._manifest.architecture.layers
        return self._get(self._notes[depth, depth, width])

    def wrong(self, error: WrongPort) -> CorruptFile:
        """Say that the graphs are not those of the manifest."""
        return CorruptFile(
            f"The graphs of the bundle {self._bundle.name} are not those of its manifest: {error}.",
            hint="Remove it and export the model again.",
        )

    def close(self) -> None:
        self._open.clear()

    def _place(self, graph: GraphNote) -> Place:
        if graph.is_head:
            return self._places[-1]
        starts = [segment.start for segment in self._manifest.segments]
        return self._places[starts.index(graph.start)]

    def _get(self, graph: GraphNote) -> OpenGraph:
        if graph not in self._open:
            session = self._load(graph, self._place(graph))
            try:
                self._open[graph] = OpenGraph(
                    graph,
                    session,
                    read_ports(
                        session.get_inputs(),
                        input_shapes(self.arch, graph, self._manifest.context),
                        self._note.ports,
                    ),
                    read_ports(session.get_outputs(), output_shapes(self.arch, graph), self._note.ports),
                )
            except WrongPort as error:
                raise self.wrong(error) from error
        return self._open[graph]

    def _load(self, graph: GraphNote, place: Place) -> ort.InferenceSession:
        compiled = self._compiled.get(place.provider.name)
        file = graph.file if compiled is None else compiled.graphs[graph.file]
        if place.on_cpu:
            verifies = graph.width == self._note.draft_width + 1 > 1
            settings = self._settings(place, {} if verifies else _MAPPED)
        else:
            settings = self._settings(place, _SHARED if compiled is not None and compiled.shared else {})
        return open_graph(self._bundle / file, settings, place.provider)

    def _settings(self, place: Place, entries: Mapping[str, str]) -> ort.SessionOptions:
        """Return options for graphs opened alike; made once, as that looks what else keeps the machine busy."""
        key = (place.provider.name, *entries)
        if key not in self._made:
            self._made[key] = session_options(
                place.provider,
                place.options,
                fallback=self._options.fallback,
                threads=self._options.threads,
                entries=entries,
            )
        return self._made[key]

    def _matching(self, place: Place, remarks: list[str]) -> CompiledNote | None:
        """Return what was compiled for a provider as it is here and the chip asked for, or the only one there is."""
        provider, soc = place.provider, self._options.soc
        ours = [one for one in self._note.compiled if one.provider == provider.name]
        ours = [one for one in ours if soc is None or one.soc == soc.casefold()]
        fit = [one for one in ours if not misfit(one, provider)]
        if len({one.soc for one in fit}) == 1:
            return fit[0]
        if fit:
            chips = ", ".join(sorted({one.soc for one in fit}))
            why = f"the bundle holds some for {chips}, and no chip was named"
        elif ours:
            why = f"of those for {ours[0].soc} in the bundle, {misfit(ours[0], provider)}"
        else:
            why = f"the bundle holds none{'' if soc is None else f' for {soc}'}"
        remarks.append(f"Graphs are compiled by {provider.name} as they are loaded: {why}.")
        return None
