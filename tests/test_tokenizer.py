from __future__ import annotations

import contextlib
import hashlib
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetts.errors import CorruptFile, InvalidInput, ModelNotFound, UnsupportedModel
from edgetts.export.gguf_file import GgufFile
from edgetts.export.tokenizer import special_tokens_from_gguf, special_tokens_from_hf, tokenizer_from_gguf
from edgetts.tokenizer import StopMatcher, TextStream, Tokenizer, TokenizerFacts

DATA = Path(__file__).parent / "data"
LINES_MODULE = runpy.run_path(str(DATA / "tokenizer_lines.py"))
LINES: list[str] = LINES_MODULE["lines"]()
GOLDEN: dict[str, Any] = json.loads((DATA / "tokenizer_golden.json").read_text(encoding="utf-8"))
PRE_TOKENIZERS = ("llama-bpe", "qwen2", "tekken", "gpt-2")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def _alphabet() -> list[str]:
    """How byte-level BPE writes the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b if b in printable else 256 + others.index(b)) for b in range(256)]


ALPHABET = _alphabet()


def _spell(token: str) -> str:
    return "".join(ALPHABET[b] for b in bytes.fromhex(token))


TINY_TOKENS = [_spell(token) for token in GOLDEN["byte_level"]["tokens"]]
TINY_MERGES = [f"{_spell(left)} {_spell(right)}" for left, right in GOLDEN["byte_level"]["merges"]]


def byte_level(pre: str = "qwen2", **changes: Any) -> dict[str, Any]:
    tokens = [*TINY_TOKENS, "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool>"]
    ordinary = len(TINY_TOKENS)
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [NORMAL] * ordinary + [CONTROL] * 3 + [USER_DEFINED],
        "tokenizer.ggml.merges": TINY_MERGES,
        "tokenizer.ggml.bos_token_id": ordinary + 2,
        "tokenizer.ggml.eos_token_id": ordinary + 1,
    }
    return metadata | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}


def sentencepiece(kind: str = "prefix", **changes: Any) -> dict[str, Any]:
    golden = GOLDEN["sentencepiece"][kind]
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": golden["tokens"],
        "tokenizer.ggml.token_type": golden["types"],
        "tokenizer.ggml.scores": golden["scores"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_space_prefix": kind == "prefix",
    }
    return metadata | {f"tokenizer.ggml.{name}": value for name, value in changes.items()}


def make(metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer(tokenizer_from_gguf(metadata), special_tokens_from_gguf(metadata))


BYTE_LEVEL = make(byte_level())
PREFIX = make(sentencepiece("prefix"))
NO_PREFIX = make(sentencepiece("no_prefix"))
ALL = pytest.mark.parametrize(
    "tokenizer", [BYTE_LEVEL, PREFIX, NO_PREFIX], ids=["bytes", "prefix", "no prefix"]
)


def assert_golden(encode: Callable[[str], list[int]], golden: dict[str, Any]) -> None:
    ids = [encode(line) for line in LINES]
    for line, ours, theirs in zip(LINES, ids, golden["written"], strict=False):
        assert ours == theirs, line
    assert hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest() == golden["sha256"]


# The same ids as the references


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_byte_level_ids_equal_tiktokens_on_1000_lines(pre: str) -> None:
    tokenizer = make(byte_level(pre))
    assert len(LINES) == 1000
    assert_golden(lambda line: tokenizer.encode(line, special=False), GOLDEN["byte_level"][pre])


@pytest.mark.parametrize("kind", ["prefix", "no_prefix"])
def test_sentencepiece_ids_equal_sentencepieces_on_1000_lines(kind: str) -> None:
    tokenizer = make(sentencepiece(kind))
    assert_golden(lambda line: tokenizer.encode(line, special=False), GOLDEN["sentencepiece"][kind])


@pytest.mark.real
def test_real_ids_equal_llama_cpps_on_1000_lines(smollm2_gguf: Path, tmp_path: Path) -> None:
    with GgufFile.open(smollm2_gguf) as file:
        facts = special_tokens_from_gguf(file.metadata)
        tokenizer_from_gguf(file.metadata).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json", facts)
    assert_golden(lambda line: tokenizer.encode(line, special=False), GOLDEN["smollm2"])
    assert (facts.bos_text, facts.eos_text, facts.add_bos) == ("<|im_start|>", "<|im_end|>", False)
    assert facts.end_tokens == (2, 0)
    assert tokenizer.vocab_size == 49152


@ALL
def test_a_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer._inner.save(str(path))
    loaded = Tokenizer.load(path, tokenizer.facts)
    for line in LINES[:200]:
        assert loaded.encode(line, special=False) == tokenizer.encode(line, special=False)


# Text and back


@ALL
def test_decoding_undoes_encoding(tokenizer: Tokenizer) -> None:
    for line in LINES:
        if "\u2581" not in line:  # SentencePiece writes a space so: it cannot tell them apart
            expected = tokenizer._inner.normalizer.normalize_str(line).replace("\u2581", " ")
            assert tokenizer.decode(tokenizer.encode(line, special=False)) == expected


@ALL
def test_decoding_agrees_with_the_tokenizers_package(tokenizer: Tokenizer) -> None:
    for line in LINES:
        ids = tokenizer.encode(line, special=False)
        assert tokenizer.decode(ids) == tokenizer._inner.decode(ids)


@ALL
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_stream_joins_to_the_decoded_whole(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=30))
    stream = TextStream(tokenizer)
    pieces = [stream.push(i) for i in ids]
    assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)
    raw = b"".join(tokenizer.token_bytes(i) for i in ids if not tokenizer.is_control(i))
    text = raw.decode("utf-8", errors="replace")
    assert tokenizer.decode(ids) in (text, text.removeprefix(" "))


@ALL
@given(text=st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_stream_never_splits_a_character(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, special=False)
    stream = TextStream(tokenizer)
    pieces = [stream.push(i) for i in ids]
    assert stream.flush() == ""
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_comes_when_its_last_byte_does() -> None:
    ids = [BYTE_LEVEL.token_id(_spell(f"{byte:02x}")) for byte in "\U0001f600".encode()]
    stream = TextStream(BYTE_LEVEL)
    assert [stream.push(i) for i in ids if i is not None] == ["", "", "", "\U0001f600"]


def test_invalid_bytes_show_when_they_are_known_to_be_invalid() -> None:
    lead, letter = BYTE_LEVEL.token_id(_spell("e2")), BYTE_LEVEL.token_id("A")
    assert lead is not None
    assert letter is not None
    stream = TextStream(BYTE_LEVEL)
    assert (stream.push(lead), stream.push(letter)) == ("", "\ufffdA")
    assert (stream.push(lead), stream.flush()) == ("", "\ufffd")


def test_only_a_space_prefix_is_taken_off() -> None:
    for tokenizer, expected in ((PREFIX, " the"), (NO_PREFIX, "  the")):
        ids = NO_PREFIX.encode("  the", special=False) if tokenizer is NO_PREFIX else None
        ids = ids or PREFIX._inner.encode(" the").ids
        assert tokenizer.decode(ids) == expected


def test_control_tokens_are_not_text() -> None:
    ids = BYTE_LEVEL.encode("a<|im_end|>b<tool>", special=True)
    assert BYTE_LEVEL.decode(ids) == "ab<tool>"
    assert [BYTE_LEVEL.token_bytes(i) for i in ids][1] == b"<|im_end|>"


def test_padding_rows_of_a_model_have_no_bytes() -> None:
    assert BYTE_LEVEL.token_bytes(BYTE_LEVEL.vocab_size + 5) == b""
    with pytest.raises(InvalidInput):
        BYTE_LEVEL.token_bytes(-1)


# What people write cannot control


@ALL
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_plain_text_never_yields_control_tokens(tokenizer: Tokenizer, data: st.DataObject) -> None:
    controls = sorted(tokenizer.control_texts)
    text = "".join(
        data.draw(st.lists(st.sampled_from([*controls, " ", "a", "<", "|", ">", "\n"]), max_size=8))
    )
    ids = tokenizer.encode(text, special=False)
    assert not any(tokenizer.is_control(i) for i in ids)
    assert tokenizer.decode(ids) == text


def test_templates_write_control_tokens() -> None:
    end = BYTE_LEVEL.token_id("<|im_end|>")
    assert BYTE_LEVEL.encode("<|im_end|>", special=True) == [end]


def test_parts_cut_at_control_tokens_are_the_whole() -> None:
    for tokenizer, control in ((BYTE_LEVEL, "<|im_end|>"), (PREFIX, "</s>"), (NO_PREFIX, "</s>")):
        whole = tokenizer.encode(f"the way {control} the{control}world", special=True)
        parts = [("the way ", False), (control, True), (" the", False), (f"{control}world", True)]
        assert tokenizer.encode_parts(parts) == whole


def test_merges_that_spell_a_control_token_are_cut() -> None:
    # As in vocabularies converted from SentencePiece with their control pieces in the merges.
    vocabulary = {"<unk>": 0, "<s>": 1, "<": 2, "s": 3, ">": 4, "s>": 5, "a": 6}
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocabulary, [("s", ">"), ("<", "s>")], unk_token="<unk>")  # noqa: S106
    )
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens(["<s>"])
    tokenizer = Tokenizer(inner, TokenizerFacts(1, (), True, None, "<s>", ""))
    assert tokenizer.encode("a<s>a", special=True) == [6, 1, 6]
    assert tokenizer.encode("a<s>a", special=False) == [6, 2, 5, 6]


@pytest.mark.parametrize("kind", [NORMAL, USER_DEFINED])
def test_an_end_token_marked_as_text_controls_all_the_same(kind: int) -> None:
    metadata = byte_level()
    types = metadata["tokenizer.ggml.token_type"]
    place = metadata["tokenizer.ggml.tokens"].index("<|im_end|>")
    types[place] = kind
    tokenizer = make(metadata)
    assert place in tokenizer.facts.end_tokens
    assert place not in tokenizer.encode("<|im_end|>", special=False)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidInput, match="surrogate at position 1"):
        BYTE_LEVEL.encode("a\udc80", special=False)


# Facts


def test_every_end_token_is_found() -> None:
    facts = special_tokens_from_gguf(byte_level(eot_token_id=3))
    tokens = byte_level()["tokenizer.ggml.tokens"]
    assert facts.end_tokens == (tokens.index("<|im_end|>"), 3, tokens.index("<|endoftext|>"))
    assert (facts.bos_text, facts.eos_text, facts.chat_template) == ("<|endoftext|>", "<|im_end|>", None)


@pytest.mark.parametrize(
    ("metadata", "add_bos"),
    [
        (byte_level("qwen2"), False),
        (byte_level("llama-bpe"), True),
        (byte_level("llama-bpe", add_bos_token=False), False),
        (sentencepiece(), True),
        (sentencepiece(bos_token_id=None), False),
    ],
)
def test_bos_is_added_where_the_family_does(metadata: dict[str, Any], add_bos: bool) -> None:
    assert special_tokens_from_gguf(metadata).add_bos is add_bos


def _hf(directory: Path, **files: Any) -> Path:
    tokenizer_from_gguf(byte_level()).save(str(directory / "tokenizer.json"))
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (directory / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return directory


def test_facts_from_a_hugging_face_directory(tmp_path: Path) -> None:
    tokens = byte_level()["tokenizer.ggml.tokens"]
    end, end_of_text = tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")
    directory = _hf(
        tmp_path,
        tokenizer_config__json={
            "bos_token": None,
            "eos_token": {"content": "<|im_end|>"},
            "chat_template": [{"name": "default", "template": "old"}],
        },
        generation_config__json={"eos_token_id": [end, end_of_text, 7], "bos_token_id": end_of_text},
        chat_template__jinja="new",
    )
    facts = special_tokens_from_hf(directory)
    assert facts == TokenizerFacts(
        bos=end_of_text,
        end_tokens=(end, end_of_text, 7),
        add_bos=False,
        chat_template="new",
        bos_text="<|endoftext|>",
        eos_text="<|im_end|>",
    )
    (directory / "chat_template.jinja").unlink()
    assert special_tokens_from_hf(directory).chat_template == "old"


def test_bos_in_the_post_processor_is_seen(tmp_path: Path) -> None:
    inner = tokenizer_from_gguf(byte_level())
    bos = inner.token_to_id("<|endoftext|>")
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<|endoftext|>"}')
    assert special_tokens_from_hf(tmp_path).add_bos is True
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<|endoftext|>", "add_bos_token": false}')
    assert special_tokens_from_hf(tmp_path).add_bos is False


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer__json": "{}"},
        {"tokenizer__json": "not json"},
        {"tokenizer_config__json": "{"},
        {"tokenizer_config__json": "[1]"},
        {"generation_config__json": {"eos_token_id": 10**9}},
        {"generation_config__json": {"eos_token_id": "x"}},
    ],
)
def test_broken_hugging_face_files_are_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    with pytest.raises(CorruptFile):
        special_tokens_from_hf(_hf(tmp_path, **files))


def test_a_hugging_face_directory_needs_a_fast_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json"):
        special_tokens_from_hf(tmp_path)


# Bad files


@pytest.mark.parametrize(
    ("metadata", "error", "says"),
    [
        (byte_level(model="t5"), UnsupportedModel, "gpt2 .* and llama"),
        (byte_level(model=None), CorruptFile, "model is missing"),
        (byte_level("chatglm-bpe"), UnsupportedModel, "llama-bpe.*qwen2"),
        (byte_level(pre=None), UnsupportedModel, "does not name"),
        (byte_level(tokens=None), CorruptFile, "tokens is missing"),
        (byte_level(tokens=[]), CorruptFile, "no tokens"),
        (byte_level(tokens="abc"), CorruptFile, "not a list"),
        (byte_level(tokens=["a", 1]), CorruptFile, "wrong type"),
        (
            byte_level(tokens=["a", "a"], token_type=[1, 1], merges=[]),
            CorruptFile,
            "tokens 0 and 1 are both 'a'",
        ),
        (byte_level(tokens=["a", "\udc80"], token_type=[1, 1], merges=[]), CorruptFile, "not Unicode"),
        (byte_level(token_type=[1, 1]), CorruptFile, "2 entries"),
        (byte_level(tokens=["a"], token_type=[9], merges=[]), CorruptFile, "unknown type"),
        (byte_level(tokens=["a"], token_type=[True], merges=[]), CorruptFile, "wrong type"),
        (byte_level(merges=None), CorruptFile, "merges is missing"),
        (byte_level(merges=["nobody knows"]), CorruptFile, "'nobody knows' is not of tokens"),
        (byte_level(merges=["a"]), CorruptFile, "'a' is not of tokens"),
        (byte_level(merges=["a a a"]), CorruptFile, "is not of tokens"),
        (sentencepiece(scores=None), CorruptFile, "scores is missing"),
        (sentencepiece(scores=[0.0]), CorruptFile, "1 entries"),
        (sentencepiece(scores=[float("nan")] * 1200), CorruptFile, "NaN"),
        (sentencepiece(scores=[-1000.0] * 1200), UnsupportedModel, "no scores"),
        (sentencepiece(add_space_prefix="yes"), CorruptFile, "add_space_prefix"),
        (sentencepiece(precompiled_charsmap=[1, 2]), UnsupportedModel, "changes texts"),
        (
            sentencepiece(tokens=["a", "b" * 9999], token_type=[1, 1], scores=[0.0, 1.0]),
            CorruptFile,
            "9999 characters",
        ),
    ],
)
def test_bad_metadata_is_refused(metadata: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        tokenizer_from_gguf(metadata)


@pytest.mark.parametrize(
    "changes", [{"eos_token_id": 10**6}, {"bos_token_id": -1}, {"eot_token_id": "7"}, {"add_bos_token": 3}]
)
def test_bad_special_tokens_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptFile):
        special_tokens_from_gguf(byte_level(**changes))


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "pre", "tokens", "token_type", "merges", "scores", "bos_token_id", "add_bos_token"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.lists(st.text() | st.integers() | st.floats()),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_metadata_is_read_or_refused(changes: dict[str, Any]) -> None:
    for metadata in (byte_level(**changes), sentencepiece(**changes)):
        with contextlib.suppress(CorruptFile, UnsupportedModel):
            make(metadata)


def test_a_control_token_is_never_merged_from_text() -> None:
    metadata = sentencepiece()
    tokens, types = list(metadata["tokenizer.ggml.tokens"]), list(metadata["tokenizer.ggml.token_type"])
    place = tokens.index("the") if "the" in tokens else tokens.index("in")
    types[place] = CONTROL
    inner = tokenizer_from_gguf(metadata | {"tokenizer.ggml.token_type": types})
    inner.encode_special_tokens = True
    assert place not in inner.encode("the in the in").ids


def test_a_missing_or_broken_tokenizer_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        Tokenizer.load(tmp_path / "tokenizer.json", BYTE_LEVEL.facts)
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\x00")
    with pytest.raises(CorruptFile):
        Tokenizer.load(tmp_path / "tokenizer.json", BYTE_LEVEL.facts)


def test_an_unknown_decoder_is_refused() -> None:
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    inner.decoder = tokenizers.decoders.WordPiece()
    with pytest.raises(UnsupportedModel, match="WordPiece"):
        Tokenizer(inner, BYTE_LEVEL.facts)


@pytest.mark.parametrize("bad", [{"bos": "1"}, {"end_tokens": (-1,)}, {"add_bos": 1}, {"chat_template": 5}])
def test_facts_are_checked(bad: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "bos": 1, "end_tokens": (2,), "add_bos": True, "chat_template": None, "bos_text": "", "eos_text": ""
    }  # fmt: skip
    TokenizerFacts(**good)
    with pytest.raises(CorruptFile):
        TokenizerFacts(**(good | bad))


def test_importing_does_not_load_the_tokenizers_package() -> None:
    code = "import sys, edgetts.tokenizer, edgetts.chat; sys.exit(bool({'tokenizers', 'jinja2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Stop strings

STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=4)


def _reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """Feed character by character; the first complete stop string ends it, the longest of several."""
    for end in range(1, len(text) + 1):
        begins = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begins:
            return text[: min(begins)], True
    return text, False


@given(stops=STOPS, pushes=st.lists(st.text("abc", max_size=5), max_size=8))
@settings(max_examples=200, deadline=None)
def test_stops_are_found_however_the_text_is_cut(stops: list[str], pushes: list[str]) -> None:
    matcher = StopMatcher(stops)
    results = [matcher.push(text) for text in pushes]
    emitted = "".join(emit for emit, _ in results)
    stopped = any(found for _, found in results)
    expected, expected_stop = _reference("".join(pushes), stops)
    assert stopped == expected_stop
    assert emitted + matcher.flush() == expected


@given(stops=STOPS, pushes=st.lists(st.text("abc", max_size=5), max_size=8))
@settings(max_examples=200, deadline=None)
def test_no_more_is_held_back_than_may_become_a_stop(stops: list[str], pushes: list[str]) -> None:
    matcher = StopMatcher(stops)
    emitted, text = "", ""
    for push in pushes:
        emit, stopped = matcher.push(push)
        emitted, text = emitted + emit, text + push
        if stopped:
            break
        held = text[len(emitted) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_after_a_stop_nothing_comes() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.push("text EN") == ("text ", False)
    assert matcher.push("D more") == ("", True)
    assert matcher.push("again") == ("", True)
    assert matcher.flush() == ""


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidInput):
        StopMatcher([""])
