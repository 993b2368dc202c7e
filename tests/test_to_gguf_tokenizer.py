"""Tokenizers carried over into GGUF files: the same ids, or a refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from gguf_cases import VARIANTS, hf, hide_llamacpp, without_leftovers
from tiny import CHAT_TEMPLATE, END, END_OF_TEXT, SPECIALS, token_id, vocabulary, write_tiny_hf

from edgetts.errors import UnsupportedModel
from edgetts.export.checkpoint import open_checkpoint
from edgetts.export.to_gguf import to_gguf
from edgetts.export.tokenizer import special_tokens_from_gguf, special_tokens_from_hf, tokenizer_from_gguf


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without llama.cpp."""
    hide_llamacpp(monkeypatch)


def lines() -> list[str]:
    """Two hundred lines of letters from everywhere, drawn; and some with control tokens."""
    rng = np.random.default_rng(7)
    letters = [
        *"etaoin shrdlu ETAOIN '.,;:!?()0123456789\t",
        "\n",
        "é",
        "ß",
        "λ",
        "中",
        "文",
        "🙂",
        " ",
        "  ",
        "\r\n",
    ]
    drawn = ["".join(rng.choice(letters, rng.integers(1, 60))) for _ in range(200)]
    return [*drawn, f"{SPECIALS[1]}user\nhi{END}\n", f"a{END_OF_TEXT}b", *SPECIALS]


@pytest.mark.usefixtures("alone")
def test_the_tokenizer_is_carried_over(tmp_path: Path) -> None:
    source = hf(tmp_path, "qwen2")
    config = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(
        json.dumps(config | {"pad_token": {"content": END_OF_TEXT}})
    )
    to_gguf(source, tmp_path / "out.gguf")
    with open_checkpoint(tmp_path / "out.gguf") as written:
        metadata = dict(written.metadata)
    before, after = special_tokens_from_hf(source), special_tokens_from_gguf(metadata)
    assert set(after.end_tokens) == set(before.end_tokens)
    assert replace(after, end_tokens=before.end_tokens) == before
    assert (after.chat_template, after.end_tokens[0]) == (CHAT_TEMPLATE, token_id(END))
    assert metadata["tokenizer.ggml.padding_token_id"] == token_id(END_OF_TEXT)
    assert metadata["tokenizer.ggml.pre"] == "qwen2"
    old = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json"))
    new = tokenizer_from_gguf(metadata)
    for line in lines():
        encoded = old.encode(line, add_special_tokens=False).ids
        assert new.encode(line, add_special_tokens=False).ids == encoded
        assert new.decode(encoded, skip_special_tokens=False) == old.decode(
            encoded, skip_special_tokens=False
        )


def byte_level(words: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the parts of a tokenizer.json that cut words in a way of some family's."""
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    plain = gpt2 | {"use_regex": False}
    if words == "gpt-2":
        cutter: dict[str, Any] = gpt2
    elif words == "smollm":
        cutter = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, gpt2]}
    else:
        split = {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}
        cutter = {"type": "Sequence", "pretokenizers": [split, plain]}
    return {"pre_tokenizer": cutter, "normalizer": None} | (extra or {})


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def change_tokenizer(source: Path, parts: dict[str, Any], **model: Any) -> None:
    path = source / "tokenizer.json"
    told = json.loads(path.read_text()) | parts
    told["model"] |= model
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("words", "name", "whole"),
    [
        ("gpt-2", "gpt-2", False),
        ("smollm", "smollm", False),
        (LLAMA3, "llama-bpe", True),
        (TEKKEN, "tekken", True),
    ],
)
def test_the_way_words_are_cut_is_found_by_what_it_does(
    words: str, name: str, whole: bool, tmp_path: Path
) -> None:
    source = hf(tmp_path, "llama")
    change_tokenizer(source, byte_level(words), ignore_merges=whole)
    written = to_gguf(source, tmp_path / "out.gguf")
    with open_checkpoint(tmp_path / "out.gguf") as made:
        assert made.metadata["tokenizer.ggml.pre"] == name
    if written.check is not None:
        assert written.check.same_tokens == written.check.lines


@pytest.mark.usefixtures("alone")
def test_a_tokenizer_that_gguf_cannot_hold_is_refused(tmp_path: Path) -> None:
    source, output = hf(tmp_path, "llama"), tmp_path / "out.gguf"
    change_tokenizer(source, byte_level(r"\p{L}{1,2}|\P{L}"))
    with pytest.raises(UnsupportedModel, match="cuts words in none of the ways"):
        to_gguf(source, output)
    change_tokenizer(source, byte_level("gpt-2"), ignore_merges=True, merges=["i n"])
    with pytest.raises(UnsupportedModel, match="lines"):
        to_gguf(source, output)
    change_tokenizer(source, {"decoder": None})
    with pytest.raises(UnsupportedModel, match="byte"):
        to_gguf(source, output)
    places = {token: place for place, token in enumerate(vocabulary())}
    words = {"type": "WordLevel", "vocab": places, "unk_token": "a"}
    (source / "tokenizer.json").write_text(json.dumps({"model": words, "added_tokens": []}))
    with pytest.raises(UnsupportedModel, match="WordLevel"):
        to_gguf(source, output)
    without_leftovers(tmp_path, "source")


def sentencepiece(source: Path, *, prefix: bool) -> tokenizers.Tokenizer:
    """Replace a directory's tokenizer by one such as Llama 2 and Gemma have, of the same size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    letters = [chr(c) for c in (*range(97, 123), *range(48, 58), 44, 46, 59)]
    merges = [
        ("t", "h"),
        ("th", "e"),
        ("\u2581", "the"),
        ("\u2581th", "e"),
        ("a", "n"),
        ("an", "d"),
        ("\u2581", "th"),
    ]
    made = dict.fromkeys(left + right for left, right in merges)
    # Every way to make a piece, in the order of the pieces.
    ways = [
        (piece[:cut], piece[cut:])
        for piece in made
        for cut in range(len(piece) - 1, 0, -1)
        if {piece[:cut], piece[cut:]} <= {*made, *letters, "\u2581"}
    ]
    vocab = {piece: place for place, piece in enumerate([*pieces, *letters, *made])}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=ways, unk_token="<unk>", fuse_unk=True, byte_fallback=True)  # noqa: S106
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    parts: list[Any] = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        parts.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in pieces[:3]])
    tokenizer.save(str(source / "tokenizer.json"))
    settings = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": True,
        "chat_template": CHAT_TEMPLATE,
    }
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"bos_token_id": 1, "eos_token_id": 2}))
    return tokenizer


@pytest.mark.parametrize(("family", "prefix"), [("llama", True), ("gemma3", False)])
def test_sentencepiece_vocabularies_get_scores_that_merge_as_their_merges_do(
    family: str, prefix: bool, tmp_path: Path
) -> None:
    write_tiny_hf(tmp_path / "source", arch=replace(VARIANTS[family], vocab=320))
    old = sentencepiece(tmp_path / "source", prefix=prefix)
    written = to_gguf(tmp_path / "source", tmp_path / "out.gguf", quantize="f32")
    with open_checkpoint(tmp_path / "out.gguf") as made:
        metadata = dict(made.metadata)
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is prefix
    facts = special_tokens_from_gguf(metadata)
    assert (facts.bos, facts.end_tokens, facts.add_bos) == (1, (2,), True)
    assert (facts.bos_text, facts.eos_text, facts.chat_template) == ("<s>", "</s>", CHAT_TEMPLATE)
    new = tokenizer_from_gguf(metadata)
    for line in [*lines()[:200], "the and then", " the", "them, the other and 12 and"]:
        assert new.encode(line).ids == old.encode(line, add_special_tokens=False).ids
    # Rows of the matrix that no token has are filled up.
    assert metadata["tokenizer.ggml.tokens"][-1] == "[PAD319]"
    if written.check is not None:
        assert written.check.same_tokens == written.check.lines


def test_the_vocabulary_may_not_outgrow_the_matrix(tmp_path: Path) -> None:
    source = hf(tmp_path, "llama")
    told = json.loads((source / "tokenizer.json").read_text())
    extra = {"id": len(vocabulary()), "content": "<|more|>", "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    told["added_tokens"].append(extra | flags)
    (source / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(Exception, match="the model's vocabulary is"):
        to_gguf(source, tmp_path / "out.gguf")
