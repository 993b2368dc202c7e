"""Static bundles in the engine: who runs them, what is measured and kept of it, and what a plan knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes_engine import (  # noqa: F401 - some are fixtures
    FakeClock,
    ScriptedSession,
    scripted_engine,
    tiny_engine_bundle,
    tiny_tokenizer,
)
from profiles_cases import DEVICE, FULL
from static_bundles import (  # noqa: F401 - one is a fixture
    CONTEXT,
    DRAFT_WIDTH,
    StaticBundle,
    rounded,
    static_bundle,
)

import edgetts
from edgetts import loading
from edgetts.answering.planning import Place
from edgetts.bundle import Manifest, read_manifest
from edgetts.decoding.session import Cancellation, Capabilities, Session
from edgetts.engine import Engine
from edgetts.errors import InvalidInput, OutOfMemory, Unsupported
from edgetts.loading import bundle_facts
from edgetts.measuring import subjects_of
from edgetts.profiles.curves import EMULATED_TIMES, StepTimes
from edgetts.profiles.device import DeviceProfile
from edgetts.profiles.devices import shipped, shipped_names
from edgetts.profiles.measuring.first_use import measure_steps
from edgetts.profiles.measuring.memory import measure_memory
from edgetts.profiles.measuring.passes import time_widths
from edgetts.profiles.measuring.timing import Deadline, SteadyClock
from edgetts.profiles.reading import read_device
from edgetts.profiles.roofline import FITS, Dimensions, efficiency, pass_seconds, prompt_seconds, shape_from
from edgetts.profiles.roofline_fit import read_points
from edgetts.profiles.roofline_static import Part, Widths, static_times
from edgetts.profiles.store import ProfileStore
from edgetts.profiles.table import parse_toml
from edgetts.profiles.writing import write_device, write_speed
from edgetts.runtimes.npu import StaticSession, placing
from edgetts.runtimes.providers.finding import Provider
from edgetts.tokenizer import Tokenizer
from edgetts.types import DecodeParams, Plan, SamplingParams
from edgetts.unopened_static import static_place

GREEDY = SamplingParams(temperature=0.0, max_tokens=12)
CPU = "CPUExecutionProvider"
# Of an NPU: a token, a draft of up to five guesses, and two such passes.
CURVE = StepTimes((1, 2, 6, 12), (0.020, 0.050, 0.050, 0.100), 200.0, "measured", "2026-11-28")
ONE_BY_ONE = Capabilities(parallel=False, widest=6, tolerance=0.0)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else keeps the processor busy, so that what is measured is kept."""
    monkeypatch.setattr(loading, "cores_busy_elsewhere", lambda: 0.0)


@pytest.fixture
def emulating(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor says that it emulates another device, as Qualcomm's emulator does."""
    real: Callable[..., Provider] = placing.find_provider
    monkeypatch.setattr(placing, "find_provider", lambda *given: replace(real(*given), emulated=True))


def measured(device: DeviceProfile) -> list[str]:
    npu = device.npu
    figures = () if npu is None else (npu.bandwidth, npu.operations)
    return [figure.provenance for figure in figures if figure.provenance == "measured"]


def manifest_of(static_bundle: StaticBundle, **options: object) -> Manifest:  # noqa: F811
    return read_manifest(static_bundle(**options).bundle)


# Opening


def test_a_static_bundle_says_what_the_other_one_says(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    static = static_bundle()
    with edgetts.load(static.bundle, measure=False, home=tmp_path) as engine:
        assert [host.runtime for host in engine.hosts] == ["npu"]
        ours = engine.answer("1 2 3", sampling=GREEDY)
        drafted = engine.answer("1 2 3", sampling=GREEDY, decode="speculative")
        votes = engine.answer(
            "1 2 3", budget=edgetts.Budget(samples=3), sampling=SamplingParams(max_tokens=8)
        )
        siblings = engine.answer(
            "1 2 3",
            budget=edgetts.Budget(samples=3),
            sampling=SamplingParams(max_tokens=8),
            decode=DecodeParams("speculative", ("ngram",)),
        )
    with edgetts.load(static.model.bundle, measure=False, home=tmp_path) as engine:
        theirs = engine.answer("1 2 3", sampling=GREEDY)
    assert ours.samples[0].tokens == theirs.samples[0].tokens == drafted.samples[0].tokens
    assert drafted.usage.speculation is not None
    assert len(drafted.usage.speculation.drafted) <= DRAFT_WIDTH
    assert (votes.plan.width, len(votes.samples)) == (1, 3)
    assert [one.tokens for one in siblings.samples] == [one.tokens for one in votes.samples]


def test_a_draft_longer_than_was_exported_for_is_refused(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    with edgetts.load(static_bundle().bundle, measure=False, home=tmp_path) as engine:
        with pytest.raises(InvalidInput, match=r"drafts of up to 5 tokens, not of 8.*--draft-width 8"):
            engine.answer("1", sampling=GREEDY, decode=DecodeParams("speculative", length=8))
        five = DecodeParams("speculative", length=DRAFT_WIDTH)
        assert engine.answer("1", sampling=GREEDY, decode=five).samples


def test_remarks_reach_whoever_loads(static_bundle: StaticBundle, tmp_path: Path) -> None:  # noqa: F811
    said: list[str] = []
    with edgetts.load(
        static_bundle(target="qnn-htp").bundle, measure=False, home=tmp_path, notify=said.append
    ):
        pass
    assert any("QNNExecutionProvider but run on the CPU" in sentence for sentence in said)


# What was measured, and where it holds


def test_what_is_measured_holds_for_the_graphs_and_who_runs_them(
    static_bundle: StaticBundle,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = manifest_of(static_bundle)

    def facts(manifest: Manifest = manifest, **options: object) -> dict[str, str]:
        return bundle_facts(manifest, options)[1]

    here = facts()
    assert here["runtime"] == "npu"
    assert here["placed"].startswith(f"0-4 {CPU} ")
    # Who names the place is all the same; who runs it, where and how are not.
    assert facts(device="cpu") == facts(provider="cpu") == facts(place="cpu:1-3") == here
    others = [facts(threads=3), facts(manifest_of(static_bundle, context=40))]
    others.append(facts(manifest_of(static_bundle, draft_width=3)))
    qnn = manifest_of(static_bundle, target="qnn-htp")
    for version, settings in (
        ("2.7.0", {}),
        ("2.8.0", {}),
        ("2.7.0", {"soc": "sm8650"}),
        ("2.7.0", {"soc": "sm8550"}),
        ("2.7.0", {"provider_options": {"htp_performance_mode": "burst"}}),
        ("2.7.0", {"fallback": True}),
        ("2.7.0", {"place": "cpu:1-3"}),
    ):
        found = {
            "QNNExecutionProvider": Provider("QNNExecutionProvider", version),
            CPU: Provider(CPU, "1"),
        }
        monkeypatch.setattr(placing, "find_provider", lambda name, *_, found=found: found[name])
        others.append(facts(qnn, device="npu", **settings))
    assert len({tuple(sorted(one.items())) for one in [here, *others]}) == 1 + len(others)
    assert all(len(value) <= 300 for one in others for value in one.values()), "as a profile may hold"


@pytest.mark.usefixtures("quiet")
def test_a_speed_is_measured_once_and_kept(static_bundle: StaticBundle, tmp_path: Path) -> None:  # noqa: F811
    said: list[str] = []
    for turn in range(2):
        with edgetts.load(static_bundle().bundle, home=tmp_path, notify=said.append, threads=1) as engine:
            assert engine.times.source == "measured"
            assert engine.times.growth == 0, "a pass reads the whole cache"
            assert engine.times.widths[0] == 1
            assert DRAFT_WIDTH + 1 in engine.times.widths
        assert sum("Measuring" in sentence for sentence in said) == 1, turn
    assert len(ProfileStore(tmp_path / "profiles").all()) == 1


@pytest.mark.usefixtures("quiet", "emulating")
def test_an_emulators_times_are_no_ones(static_bundle: StaticBundle, tmp_path: Path) -> None:  # noqa: F811
    said: list[str] = []
    bundle = static_bundle().bundle
    with edgetts.load(bundle, home=tmp_path, notify=said.append) as engine:
        session = engine.session
        assert isinstance(session, StaticSession)
        assert session.emulated
        assert engine.hosts[0].speed is None
        plans = [engine.plan("1", budget=edgetts.Budget(samples=2))]
        answer = engine.answer("1", sampling=GREEDY, budget=edgetts.Budget(seconds=60.0))
        plans.append(answer.plan)
    for plan in plans:
        assert (plan.seconds, plan.predicted_seconds, plan.step_seconds, plan.joules) == (None,) * 4
        assert plan.source == "emulated"
        assert all(one.seconds is None for one in plan.candidates)
    assert not any("Measuring" in sentence for sentence in said)
    assert any("nothing is measured and plans have no times" in sentence for sentence in said)
    assert ProfileStore(tmp_path / "profiles").all() == []
    with pytest.raises(InvalidInput, match="emulator"):
        subjects_of(bundle, None, None, {})


def test_no_file_of_an_emulators_times_is_written_or_read(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    wrong = replace(FULL, times=replace(FULL.times, source="emulated"))
    assert "emulator" in str(store.put(wrong))
    assert store.put(FULL) is None
    path = tmp_path / "speeds" / f"{FULL.mark}.toml"
    path.write_text(write_speed(wrong))
    assert ProfileStore(tmp_path).get(FULL.mark) is None


# How long passes take


def test_wider_passes_of_one_branch_are_timed_where_branches_run_one_after_the_other(
    tiny_tokenizer: Tokenizer,  # noqa: F811
) -> None:
    clock = FakeClock()
    session = ScriptedSession([b"1"] * 200, clock=clock, times=CURVE, capabilities=ONE_BY_ONE)
    times = measure_steps(session, clock)
    assert times.widths == CURVE.widths
    assert times.seconds == pytest.approx(CURVE.seconds)
    deadline = Deadline(SteadyClock(clock), 60.0, Cancellation())
    curve = time_widths(session, 32, (1, 4, 16), SteadyClock(clock), deadline, room=1 << 40, most=4)
    assert curve.seconds() == pytest.approx(dict(zip(CURVE.widths, CURVE.seconds, strict=True)))


def test_samples_are_planned_one_after_the_other_by_the_time_of_one(
    tiny_tokenizer: Tokenizer,  # noqa: F811
) -> None:
    clock = FakeClock()
    scripts = [b"1" * 40] * 8
    session = ScriptedSession(scripts, clock=clock, times=CURVE, capabilities=ONE_BY_ONE)
    with scripted_engine(tiny_tokenizer, session, clock=clock, times=CURVE) as engine:
        answer = engine.answer(
            "1",
            budget=edgetts.Budget(samples=8),
            sampling=SamplingParams(max_tokens=40, temperature=1.0),
            explain=True,
        )
    plan = answer.plan
    assert (plan.width, len(answer.samples)) == (1, 8)
    assert plan.seconds is not None
    # A guess at lengths is cut at 40, as these are; a first token comes with the prompt.
    assert answer.usage.seconds == pytest.approx(8 * 39 * CURVE.at(1), rel=0.2)
    assert plan.seconds.low <= answer.usage.seconds <= plan.seconds.high * 1.05


# Memory


def plan_in(engine: Engine, caches: float, samples: int) -> Plan:
    info = engine.session.info
    memory = int(caches * info.bytes_per_token * info.context)
    return engine.plan("1", budget=edgetts.Budget(samples=samples, memory_bytes=memory))


def test_every_branch_takes_the_cache_of_the_whole_context(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    with edgetts.load(static_bundle().bundle, measure=False, home=tmp_path) as engine:
        session = engine.session
        info = session.info
        each = info.bytes_per_token * info.context
        branch, _ = session.prefill([1, 2])
        assert isinstance(session, StaticSession)
        assert session.cache_bytes == each, "two tokens take as much as a whole context"
        session.free(branch)
        many, tight, one = plan_in(engine, 2.1, 4), plan_in(engine, 1.9, 4), plan_in(engine, 1.1, 1)
        assert (many.samples, many.memory_bytes) == (4, 2 * each)
        assert (tight.samples, tight.memory_bytes) == (1, each)
        assert one.memory_bytes == each
        with pytest.raises(OutOfMemory, match="cache needs"):
            plan_in(engine, 0.9, 1)
        use = measure_memory(
            session, lambda: 0, 7, 1 << 40, engine.times, Deadline(FakeClock(), 9.0, Cancellation())
        )
        assert (use.model, use.token, use.branch) == (7, 0, each)


@pytest.mark.parametrize("round_ports", [False, True])
def test_the_files_tell_what_a_branch_takes(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
    round_ports: bool,
) -> None:
    static = static_bundle()
    bundle = rounded(static, tmp_path) if round_ports else static.bundle
    place = place_of(read_manifest(bundle), DEVICE, store=ProfileStore(tmp_path))
    session: Session = StaticSession.open(bundle)
    assert place.bytes_per_token == session.info.bytes_per_token
    assert place.context == session.info.context
    assert place.parallel == session.capabilities.parallel
    assert place.whole_cache == session.info.whole_cache
    assert place.longest_draft == DRAFT_WIDTH
    session.close()


# Devices that are described


def place_of(
    manifest: Manifest, profile: DeviceProfile, /, store: ProfileStore | None = None, **options: object
) -> Place:
    note = manifest.static
    assert note is not None
    return static_place(manifest, note, profile, store, options, lambda sentence: None)


@pytest.mark.parametrize("name", shipped_names())
def test_no_figure_of_an_npu_is_called_measured(name: str) -> None:
    assert measured(shipped(name)) == []
    assert "npu" not in {point.runtime for point in read_points()}


def test_a_plan_reckons_with_the_npu_that_a_bundle_is_for(static_bundle: StaticBundle) -> None:  # noqa: F811
    qnn = manifest_of(static_bundle, target="qnn-htp")
    phone, apple = shipped("snapdragon-phone"), shipped("apple-laptop")
    npu, cpu = place_of(qnn, phone), place_of(qnn, phone, device="cpu")
    parts = [place_of(qnn, phone, place="cpu:0-3"), place_of(qnn, phone, device="cpu", place="npu:3-4")]
    assert place_of(qnn, phone, device="npu") == npu == place_of(qnn, phone, provider="qnn")
    assert parts[0].times == parts[1].times, "the same layers on the same processors"
    assert npu.times.at(1) < parts[0].times.at(1) < cpu.times.at(1)
    assert (npu.times.source, cpu.times.source) == ("modelled", "modelled")
    assert npu.times.spread > 0.5, "nobody measured it"
    assert npu.power is None, "watts are of the processor"
    assert cpu.power == phone.power
    generic = manifest_of(static_bundle)
    assert place_of(generic, phone).times == place_of(generic, phone, device="cpu").times
    said: list[str] = []
    assert qnn.static is not None
    elsewhere = static_place(qnn, qnn.static, apple, None, {}, said.append)
    assert elsewhere.times == place_of(qnn, apple, device="cpu").times
    assert "no NPU for qnn-htp" in said[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "gpu"}, "without a GPU"),
        ({"device": "npu"}, "no NPU that runs bundles for qnn-htp"),
        ({"provider": "qnn"}, "described without qnn"),
        ({"provider": "nobody"}, "described without nobody"),
        ({"soc": "sm8650"}, "soc is for this device"),
        ({"fallback": True}, "fallback is for this device"),
        ({"place": "cpu:1-2"}, "cannot be placed"),
    ],
)
def test_what_a_described_device_has_not_is_refused(
    static_bundle: StaticBundle,  # noqa: F811
    options: dict[str, object],
    words: str,
) -> None:
    qnn = manifest_of(static_bundle, target="qnn-htp")
    with pytest.raises(InvalidInput, match=words):
        place_of(qnn, shipped("apple-laptop"), **options)


def test_an_npu_here_that_nobody_described_is_not_guessed_at(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placing, "find_provider", lambda name, *_: Provider(name, "1"))
    qnn = manifest_of(static_bundle, target="qnn-htp")
    with pytest.raises(Unsupported, match="Nobody knows how fast QNNExecutionProvider is here"):
        place_of(qnn, replace(DEVICE, npu=None), store=ProfileStore(tmp_path))


@pytest.mark.usefixtures("emulating")
def test_an_unopened_plan_takes_no_time_from_an_emulator(
    static_bundle: StaticBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    place = place_of(manifest_of(static_bundle), DEVICE, store=ProfileStore(tmp_path))
    assert place.times == EMULATED_TIMES
    assert not place.cost.timed


def test_a_pass_over_a_draft_reads_everything_once_and_two_take_twice_as_long() -> None:
    phone = shipped("snapdragon-phone")
    shape = shape_from(Dimensions(30, 576, 9, 3, 64, 1536, 49152), 8.0, 8.0)
    assert phone.npu is not None
    times = static_times([Part(1.0, shape, phone.npu, "npu")], Widths(1024, 64, 5))
    assert times.widths == (1, 2, 6, 12)
    assert times.at(6) == times.at(2) < 1.5 * times.at(1)
    assert times.at(12) == pytest.approx(2 * times.at(6))
    assert (times.growth, times.past) == (0.0, 1024)
    longer = static_times([Part(1.0, shape, phone.npu, "npu")], Widths(2048, 64, 5))
    assert longer.at(1) > times.at(1), "all of the cache is read"


def test_the_shares_an_npu_gets_are_those_of_published_figures() -> None:
    published = parse_toml(FITS.read_bytes(), FITS.name).table("published")
    assert "ai-hub-models" in published.text("source")
    models, fit = published.table("models"), efficiency("npu")
    phone = shipped("snapdragon-phone").npu
    assert phone is not None
    sizes, errors = {}, {}
    for name in models.names:
        one = models.table(name)
        sizes[name] = Dimensions(*(one.whole(field, 1, 1 << 23) for field in Dimensions.__slots__))
    for point in published.tables("points", 16):
        bandwidth = replace(phone.bandwidth, value=point.number("bandwidth", 1, 1e18))
        chip, model = point.text("chip"), point.text("model")
        # The cache in 8 bits, where `Shape` has 32.
        shape = shape_from(sizes[model], 4.0, 8.0)
        shape = replace(shape, kv=shape.kv / 4)
        context, rate = point.whole("context", 1, 1 << 20), point.number("rate", 1e-3, 1e6)
        npu = replace(phone, bandwidth=bandwidth)
        errors[chip, model] = pass_seconds(shape, npu, fit, 1, context) * rate - 1
        if chip == "Snapdragon 8 Gen 3":
            seconds = prompt_seconds(shape, npu, fit, point.whole("prompt", 1, 1 << 20))
            assert seconds == pytest.approx(point.number("prompt_seconds", 1e-6, 1e3), rel=0.02)
    assert abs(errors.pop(("Snapdragon 8 Gen 3", "llama2-7b"))) < 0.02
    elites = [abs(error) for (chip, _), error in errors.items() if "8 Elite" in chip]
    assert max(elites) <= fit.error + 0.03
    assert max(map(abs, errors.values())) <= fit.elsewhere


def test_a_profile_names_who_compiles_for_its_npu_and_an_older_one_does_not() -> None:
    phone = shipped("snapdragon-phone")
    text = write_device(phone)
    assert read_device(text.encode(), "it")[0] == phone
    line = 'provider = "QNNExecutionProvider"\n'
    assert text.count(line) == 1
    older, _ = read_device(text.replace(line, "").encode(), "it")
    assert older.npu is not None
    assert older.npu.provider == ""
