"""The tables of providers and chips: what is in them, and that a damaged one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgetts.profiles
from edgetts.errors import CorruptFile, InvalidInput
from edgetts.runtimes.providers.catalogue import (
    all_entries,
    all_socs,
    find_entry,
    find_soc,
    read_providers,
    read_socs,
)
from edgetts.runtimes.providers.options import provider_options

QNN = "QNNExecutionProvider"
TABLES = Path(edgetts.profiles.__file__).parent


def test_a_chip_is_found_by_name_and_alias_whatever_the_case() -> None:
    elite = find_soc("sc8380xp")
    assert elite.options == {"htp_arch": "73", "soc_model": "60"}
    assert find_soc("X Elite") is elite
    assert find_soc("X1E80100") is elite
    assert find_soc("sm8650").options == {"htp_arch": "75", "soc_model": "57"}


def test_every_chip_says_what_its_compiler_needs_and_where_that_was_read() -> None:
    for soc in all_socs():
        assert soc.provider == QNN
        assert {*soc.options} == {"htp_arch", "soc_model"}
        assert soc.title
        assert ":" in soc.source or "," in soc.source
        # So that no chip has an option that the provider's own table refuses.
        assert provider_options(QNN, soc=soc)["soc_model"] == soc.options["soc_model"]


def test_a_misspelt_chip_gets_a_near_miss_and_a_strange_one_all_there_are() -> None:
    with pytest.raises(InvalidInput, match="no chip 'sm865'.*'sm8650'"):
        find_soc("sm865")
    with pytest.raises(InvalidInput, match=r"no chip 'pentium'.*There are: sm8350"):
        find_soc("pentium")


def test_a_provider_is_found_by_both_names() -> None:
    for entry in all_entries():
        assert find_entry(entry.name) is entry
        assert find_entry(entry.provider.upper()) is entry
        assert entry.get.endswith(".")
    assert find_entry("nobody") is None


def test_the_users_options_win_over_the_chips_and_those_over_the_defaults() -> None:
    given = {"soc_model": "43", "backend_type": "saver", "htp_performance_mode": "burst"}
    assert provider_options(QNN, soc=find_soc("sm8650"), given=given) == {
        "backend_type": "saver",
        "offload_graph_io_quantization": "0",
        "htp_arch": "75",
        "soc_model": "43",
        "htp_performance_mode": "burst",
    }


def test_options_follow_the_kind_of_device() -> None:
    assert provider_options(QNN, kind="gpu")["backend_type"] == "gpu"
    assert provider_options(QNN, kind="npu")["backend_type"] == "htp"


def test_an_option_that_stands_for_a_default_replaces_it() -> None:
    assert "backend_type" not in provider_options(QNN, given={"backend_path": "libQnnHtp.so"})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "htp_perfomance_mode",
            "burst",
            "no option 'htp_perfomance_mode'. Did you mean 'htp_performance_mode'",
        ),
        ("htp_performance_mode", "bursty", "cannot be 'bursty'. Did you mean 'burst'"),
        ("htp_arch", "12", "cannot be '12'. It is one of: 0, 68"),
        ("soc_model", "sm8650", "soc_model of QNNExecutionProvider is a whole number"),
        ("soc_model", "", "is a whole number"),
    ],
)
def test_an_option_that_cannot_be_is_refused(option: str, value: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        provider_options(QNN, given={option: value})


def test_options_of_providers_without_a_list_pass() -> None:
    assert provider_options("OpenVINOExecutionProvider", given={"any": "thing"}) == {"any": "thing"}
    assert provider_options("UnheardExecutionProvider", given={"any": "thing"}) == {"any": "thing"}


def test_an_option_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="are text, but 'soc_model' is 57"):
        provider_options(QNN, given={"soc_model": 57})  # type: ignore[dict-item]


def test_a_chip_of_another_provider_is_refused() -> None:
    with pytest.raises(InvalidInput, match="sm8650 is for QNNExecutionProvider, not for OpenVINO"):
        provider_options("OpenVINOExecutionProvider", soc=find_soc("sm8650"))


SOCS = (TABLES / "socs.toml").read_text(encoding="utf-8")
PROVIDERS = (TABLES / "providers.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("format = 1", ""),
        ('title = "Snapdragon 888"', ""),
        ('title = "Snapdragon 888"', "title = 888"),
        ('title = "Snapdragon 888"', 'title = "888"\ntitel = "x"'),
        ("[socs.sm7325]", "[socs.sm8350]"),
        ("[socs.sm7325]", '[socs."SM 7325"]'),
        ('aliases = "qcs8550"', 'aliases = "sm8350"'),
        ('source = "executorch"', 'source = "hearsay"'),
        ('{ htp_arch = "68", soc_model = "30" }', '{ htp_arch = 68, soc_model = "30" }'),
        ('provider = "QNNExecutionProvider"', 'provider = "qnn"'),
        ("[sources]", "[sources"),
    ],
)
def test_a_damaged_table_of_chips_is_refused(old: str, new: str) -> None:
    assert old in SOCS
    with pytest.raises(CorruptFile, match="the table"):
        read_socs(SOCS.replace(old, new, 1).encode(), "the table")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 1\nmore = 1"),
        ('devices = "npu gpu cpu"', 'devices = "npu npu"'),
        ('devices = "npu gpu cpu"', 'devices = "tpu"'),
        ('devices = "npu gpu cpu"', 'devices = ""'),
        ("emulator = true", 'emulator = "yes"'),
        ('module = "onnxruntime_qnn"', ""),
        ('version = "2.7"', 'version = "new"'),
        ('backend_type = "htp"', 'backend_type = "hpt"'),
        ("gpu = { backend_type", "tpu = { backend_type"),
        ('provider = "CPUExecutionProvider"', 'provider = "QNNExecutionProvider"'),
        ("[providers.qnn]", "[providers.QNN]"),
        ('get = "Every', 'gets = "Every'),
    ],
)
def test_a_damaged_table_of_providers_is_refused(old: str, new: str) -> None:
    assert old in PROVIDERS
    with pytest.raises(CorruptFile, match="the table"):
        read_providers(PROVIDERS.replace(old, new, 1).encode(), "the table")


def test_the_tables_are_what_is_read() -> None:
    assert len(read_providers(PROVIDERS.encode(), "the table")) == len(all_entries()) >= 9
    assert {soc.name for soc in read_socs(SOCS.encode(), "the table").values()} == {
        s.name for s in all_socs()
    }
