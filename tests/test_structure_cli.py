"""`edgetts ask --json-schema`, `--regex`, `--grammar`: what goes out is kept to it, and mistakes are one sentence."""

# ruff: noqa: F401, F811  fixtures are imported, and then named as parameters

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes_engine import ScriptedSession, tiny_engine_bundle, tiny_tokenizer
from test_cli_ask import ask, refused, scripted

pytest.importorskip("llguidance")

ALL = ("--strategy", "self_consistency:stop=none")  # no sample is pruned

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"enum": ["Bob", "Alice"]},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def tiny(bundle: Path, *arguments: str) -> Any:
    return ask("Who?", "--model", str(bundle), "--decode", "plain", *arguments)


def check_person(text: str) -> None:
    person = json.loads(text)
    assert set(person) == {"name", "age"}
    assert person["name"] in ("Bob", "Alice")
    assert 0 <= person["age"] <= 120


def test_a_schema_in_a_file_or_as_it_stands(tmp_path: Path, tiny_engine_bundle: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text("\ufeff" + json.dumps(SCHEMA), encoding="utf-8")
    by_file = tiny(tiny_engine_bundle, "--json-schema", str(file))
    itself = tiny(tiny_engine_bundle, "--json-schema", json.dumps(SCHEMA))
    assert by_file.exit_code == itself.exit_code == 0, by_file.output
    check_person(by_file.stdout)
    assert itself.stdout == by_file.stdout


def test_samples_vote_as_json(tiny_engine_bundle: Path) -> None:
    result = tiny(
        tiny_engine_bundle, "--json-schema", json.dumps(SCHEMA), "-n", "5", "-t", "1.5", "--json", *ALL
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert len(answer["samples"]) == 5
    for sample in answer["samples"]:
        assert sample["finish_reason"] == "end"
        check_person(sample["text"])
        # Canonical, which is what is counted: keys in order, no spaces.
        assert json.loads(sample["answer"]) == json.loads(sample["text"])
    counts = Counter(sample["answer"] for sample in answer["samples"])
    assert answer["answer"] in [one for one, count in counts.items() if count == max(counts.values())]


def test_a_format_that_is_named_stays(tiny_engine_bundle: Path) -> None:
    result = tiny(tiny_engine_bundle, "--json-schema", json.dumps(SCHEMA), "--answer", "number", "--json")
    answer = json.loads(result.stdout)
    assert answer["answer"] == str(json.loads(answer["text"])["age"])


@pytest.mark.parametrize("constraining", ["mask", "rejection"])
def test_a_pattern_and_a_grammar(tmp_path: Path, tiny_engine_bundle: Path, constraining: str) -> None:
    result = tiny(tiny_engine_bundle, "--regex", "(yes|no)!", "--constraining", constraining, "-t", "1")
    assert result.stdout.strip() in ("yes!", "no!"), result.output
    file = tmp_path / "plus.lark"
    file.write_text('start: N "+" N\nN: /[1-9]/\n')
    result = tiny(tiny_engine_bundle, "--grammar", str(file), "--constraining", constraining, "-t", "1")
    left, plus, right = result.stdout.strip()
    assert (plus, left.isdigit(), right.isdigit()) == ("+", True, True)


def test_speculation_takes_the_same_tokens(tiny_engine_bundle: Path) -> None:
    schema = {"type": "array", "items": {"enum": ["again", "again and again"]}, "minItems": 6, "maxItems": 9}
    arguments = ("Who?", "--model", str(tiny_engine_bundle), "--json-schema", json.dumps(schema), "--json")
    plain = json.loads(ask(*arguments, "--decode", "plain").stdout)
    drafted = json.loads(ask(*arguments, "--decode", "speculative", "--draft", "ngram").stdout)
    assert drafted["samples"][0]["tokens"] == plain["samples"][0]["tokens"]
    assert drafted["usage"]["speculation"]["accepted"][0] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--json-schema", "{", "--regex", "a"], "--json-schema and --regex cannot both"),
        (["--regex", "a", "--grammar", "g.lark"], "--regex and --grammar cannot both"),
        (["--constraining", "mask"], "none is given"),
        (["--json-schema", "nowhere.json"], "cannot read 'nowhere.json'"),
        (["--json-schema", "a\0b"], "cannot read"),
        (["--json-schema", '{"type": }'], "--json-schema is not JSON (line 1, column 10)"),
        (["--json-schema", "[" * 100_000], "is not JSON"),
        (["--json-schema", "[1]"], "A JSON schema is an object"),
        (["--json-schema", '{"uniqueItems": true}'], "'uniqueItems' at #"),
        (["--json-schema", "bad.json"], "'bad.json' is not UTF-8 text (byte 1)"),
        (["--json-schema", "big.json"], "more than 1000000 bytes"),
        (["--json-schema", "."], "cannot read '.'"),
        (["--grammar", "nowhere.lark"], "cannot read 'nowhere.lark'"),
        (["--grammar", "bad.json"], "not UTF-8"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    def load(*given: object, **options: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("edgetts.engine.load", load)
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_bytes(b"{\xff}")
    Path("big.json").write_bytes(b" " * 1_000_001)
    refused(ask("Who?", *arguments), 2, says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--regex", "("], "unclosed group"),
        (["--regex", "(a{1000}){1000}"], "too large"),
        (["--grammar", "g"], "no start rule"),
    ],
)
def test_what_the_compiler_refuses_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripted: Callable[..., ScriptedSession],
    arguments: list[str],
    says: str,
) -> None:
    scripted(b"yes")
    monkeypatch.chdir(tmp_path)
    Path("g").write_text("")
    refused(ask("Who?", *arguments), 2, says)


def test_without_llguidance_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "llguidance" else real(name))
    refused(ask("Who?", "--regex", "a"), 7, "edgetts[structure]")
