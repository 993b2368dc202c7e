"""Rebuild tokenizers from what model files say; knows GGUF's keys and Hugging Face's files, no weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetts.errors import CorruptFile, UnsupportedModel
from edgetts.tokenizer import END_TEXTS, END_TEXTS_IF_CONTROL, TokenizerFacts, looks_like_control

if TYPE_CHECKING:
    import tokenizers

_PREFIX = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_SPACE_PIECE = "\u2581"
_LONGEST_PIECE = 256
"""Characters; real vocabularies stay below 50. Deriving merges is quadratic in it."""

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_AFTER_WORDS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_AFTER_WORDS}"
_QWEN2 = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_AFTER_WORDS}"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
}
"""Pre-tokenizer name -> regular expression that cuts words; gpt-2's own is built into ByteLevel."""
_GPT2 = ("gpt-2", "default", "smollm")
_WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Made from tiktoken vocabularies: a word that is a token is taken without merging."""
_BOS_BY_DEFAULT = _WHOLE_WORDS_FIRST


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise CorruptFile(
            f"The file's tokenizer cannot be used: {what}.",
            hint="Get the file again, or convert the model with a newer tool.",
        )


def _list(
    metadata: Mapping[str, Any], name: str, kind: type | tuple[type, ...], length: int | None = None
) -> list[Any]:
    value = metadata.get(_PREFIX + name)
    _need(value is not None, f"{_PREFIX}{name} is missing")
    _need(
        isinstance(value, Sequence) and not isinstance(value, (str, bytes)), f"{_PREFIX}{name} is not a list"
    )
    items = list(value or ())
    right = all(isinstance(item, kind) and not isinstance(item, bool) for item in items)
    _need(right, f"{_PREFIX}{name} holds values of a wrong type")
    if length is not None:
        _need(len(items) == length, f"{_PREFIX}{name} has {len(items)} entries for {length} tokens")
    return items


def _id(metadata: Mapping[str, Any], name: str, size: int) -> int | None:
    value = metadata.get(f"{_PREFIX}{name}_token_id")
    if value is None:
        return None
    whole = isinstance(value, int) and not isinstance(value, bool)
    _need(whole and 0 <= value < size, f"{_PREFIX}{name}_token_id is {value!r}, outside the {size} tokens")
    return int(value)


def _flag(metadata: Mapping[str, Any], name: str, default: bool) -> bool:
    value = metadata.get(_PREFIX + name, default)
    _need(isinstance(value, bool), f"{_PREFIX}{name} is {value!r}, not true or false")
    return bool(value)


def _tokens_and_types(metadata: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    tokens: list[str] = _list(metadata, "tokens", str)
    _need(bool(tokens), "it has no tokens")
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError:
        _need(False, "its tokens are not Unicode text")
    types: list[int] = _list(metadata, "token_type", int, len(tokens))
    _need(all(_NORMAL <= t <= _BYTE for t in types), f"{_PREFIX}token_type has an unknown type")
    # Files mark some control tokens as ordinary text, which would let a user's text forge them.
    for place, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if (kind == _USER_DEFINED and looks_like_control(token)) or (kind == _NORMAL and token in END_TEXTS):
            types[place] = _CONTROL
    return tokens, types


def _vocabulary(tokens: Sequence[str]) -> dict[str, int]:
    vocabulary = {token: place for place, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        place, token = next((i, t) for i, t in enumerate(tokens) if vocabulary[t] != i)
        _need(False, f"tokens {place} and {vocabulary[token]} are both {token[:40]!r}")
    return vocabulary


def _model_and_pre(metadata: Mapping[str, Any]) -> tuple[str, str]:
    model, pre = metadata.get(_PREFIX + "model"), metadata.get(_PREFIX + "pre")
    _need(isinstance(model, str), f"{_PREFIX}model is missing or not a text")
    if model not in ("gpt2", "llama"):
        raise UnsupportedModel(
            f"edgetts does not know the tokenizer model {model!r}.",
            hint="It knows gpt2 (byte-level BPE) and llama (SentencePiece BPE).",
        )
    known = (*_GPT2, *_SPLITS)
    if model == "gpt2" and pre not in known:
        says = "does not name its pre-tokenizer" if pre is None else f"uses the pre-tokenizer {pre!r}"
        raise UnsupportedModel(
            f"The file {says}, so its tokens cannot be rebuilt.", hint=f"edgetts knows {', '.join(known)}."
        )
    return str(model), str(pre)


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Build a tokenizer from GGUF's tokenizer.ggml.* keys.

    metadata maps keys to plain Python values. The ids are those of Hugging Face's and
    SentencePiece's own tokenizers; nothing (no bos) is added to a text. Raises UnsupportedModel for
    other kinds and CorruptFile for contradictions.
    """
    model, pre = _model_and_pre(metadata)
    tokens, types = _tokens_and_types(metadata)
    if model == "gpt2":
        tokenizer = _byte_level(metadata, tokens, pre)
    else:
        tokenizer = _sentencepiece(metadata, tokens, types)
    _add_tokens(tokenizer, tokens, types, normalized=model == "llama")
    return tokenizer


def _add_tokens(
    tokenizer: tokenizers.Tokenizer, tokens: Sequence[str], types: Sequence[int], *, normalized: bool
) -> None:
    """Make control and user-defined tokens known; SentencePiece finds the latter in normalised text."""
    from tokenizers import AddedToken

    control, user_defined = [], []
    for token, kind in zip(tokens, types, strict=True):
        if token and kind in (_CONTROL, _UNKNOWN):
            control.append(AddedToken(token, normalized=False, special=True))
        elif token and kind == _USER_DEFINED:
            user_defined.append(AddedToken(token, normalized=normalized, special=False))
    tokenizer.add_special_tokens(control)
    tokenizer.add_tokens(user_defined)


def _byte_level(metadata: Mapping[str, Any], tokens: Sequence[str], pre: str) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = _vocabulary(tokens)
    merges = []
    for merge in _list(metadata, "merges", str):
        left, _, right = merge.partition(" ")
        known = left in vocabulary and right in vocabulary and left + right in vocabulary
        _need(known, f"the merge {merge[:80]!r} is not of tokens in the vocabulary")
        merges.append((left, right))
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, ignore_merges=pre in _WHOLE_WORDS_FIRST, fuse_unk=False)
    )
    tokenizer.decoder = decoders.ByteLevel()
    if pre in _SPLITS:
        words = pre_tokenizers.Split(Regex(_SPLITS[pre]), behavior="isolated")
        to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
        if _SPLITS[pre] is _QWEN2:
            tokenizer.normalizer = normalizers.NFC()
        return tokenizer
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, gpt2])
    else:
        tokenizer.pre_tokenizer = gpt2
    return tokenizer


def _sentencepiece(
    metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]
) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
        value = metadata.get(_PREFIX + key)
        if value is True or (isinstance(value, Sized) and len(value)):
            raise UnsupportedModel(
                f"The file's SentencePiece tokenizer changes texts first ({key}), which edgetts does not."
            )
    vocabulary = _vocabulary(tokens)
    scores = [float(score) for score in _list(metadata, "scores", (int, float), len(tokens))]
    _need(not any(math.isnan(score) for score in scores), f"{_PREFIX}scores holds NaN")
    unknown = next((token for token, kind in zip(tokens, types, strict=True) if kind == _UNKNOWN), None)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges_from_scores(tokens, scores, types),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=_BYTE in types,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE_PIECE)
    steps: list[Any] = [decoders.Replace(_SPACE_PIECE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if _flag(metadata, "add_space_prefix", True):
        # SentencePiece puts one space before the text, even before a space, and never again after a
        # control token. One Metaspace would do that except before a space, where it puts none; but it
        # looks for its own replacement, and the normalizer left no plain space to be found.
        first = pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="first", split=False)
        rest = pre_tokenizers.Metaspace(replacement=_SPACE_PIECE, prepend_scheme="never", split=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, rest])
        steps.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def merges_from_scores(
    tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]
) -> list[tuple[str, str]]:
    """List every way to make a piece of two, best score first: SentencePiece BPE as plain BPE.

    Only ordinary pieces take part, as in SentencePiece: no merge may spell a control token.
    """
    # The dictionary gives back the vocabulary's own strings, so that merges hold no copies.
    normal = {token: token for token, kind in zip(tokens, types, strict=True) if kind == _NORMAL}
    long = max((len(token) for token in normal), default=0)
    _need(long <= _LONGEST_PIECE, f"a piece of it is {long} characters long")
    order = sorted((i for i, kind in enumerate(types) if kind == _NORMAL), key=lambda i: -scores[i])
    if len(order) > 1 and scores[order[0]] == scores[order[-1]]:
        raise UnsupportedModel(
            "The file's SentencePiece vocabulary has no scores, so its merges are not known.",
            hint="Convert the model again from its tokenizer.model.",
        )
    merges = []
    for place in order:
        piece = tokens[place]
        for cut in range(len(piece) - 1, 0, -1):
            left = normal.get(piece[:cut])
            right = None if left is None else normal.get(piece[cut:])
            if left is not None and right is not None:
                merges.append((left, right))
    return merges


def special_tokens_from_gguf(metadata: Mapping[str, Any]) -> TokenizerFacts:
    """Read which tokens begin and end a text, and the chat template, from GGUF's keys."""
    model, pre = _model_and_pre(metadata)
    tokens, types = _tokens_and_types(metadata)
    bos, eos = _id(metadata, "bos", len(tokens)), _id(metadata, "eos", len(tokens))
    ends = [eos, _id(metadata, "eot", len(tokens)), _id(metadata, "eom", len(tokens))]
    for place, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == _CONTROL and (token in END_TEXTS or token in END_TEXTS_IF_CONTROL):
            ends.append(place)
    template = metadata.get("tokenizer.chat_template")
    _need(template is None or isinstance(template, str), "tokenizer.chat_template is not a text")
    return TokenizerFacts(
        bos=bos,
        end_tokens=tuple(dict.fromkeys(end for end in ends if end is not None)),
        add_bos=_flag(metadata, "add_bos_token", model == "llama" or pre in _BOS_BY_DEFAULT)
        and bos is not None,
        chat_template=template or None,
        bos_text="" if bos is None else tokens[bos],
        eos_text="" if eos is None else tokens[eos],
    )


def _json_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(
            f"{str(path)!r} is not valid JSON: {error}.", hint="Get the model again."
        ) from error
    if not isinstance(data, dict):
        raise CorruptFile(f"{str(path)!r} does not hold a JSON object.", hint="Get the model again.")
    return data


def _token_text(value: Any) -> str:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else ""


def special_tokens_from_hf(directory: Path) -> TokenizerFacts:
    """Read the same from a Hugging Face directory.

    Files: tokenizer.json (needed), tokenizer_config.json, generation_config.json, config.json,
    chat_template.jinja. Ids come from generation_config.json, then config.json, then the texts.
    """
    import tokenizers

    source = directory / "tokenizer.json"
    if not source.is_file():
        raise UnsupportedModel(
            f"{str(directory)!r} has no tokenizer.json.",
            hint="Save the model's fast tokenizer there, or use its GGUF.",
        )
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(source))
    except Exception as error:  # tokenizers raises the bare class for every bad file
        raise CorruptFile(f"{str(source)!r} is not a readable tokenizer.json: {error}.") from error
    config = _json_object(directory / "tokenizer_config.json")
    ends: list[int] = []
    bos = tokenizer.token_to_id(_token_text(config.get("bos_token")))
    eos = tokenizer.token_to_id(_token_text(config.get("eos_token")))
    if eos is not None:
        ends.append(eos)
    for name in ("generation_config.json", "config.json"):
        other = _json_object(directory / name)
        value = other.get("eos_token_id")
        for end in value if isinstance(value, list) else [value]:
            ends += [] if end is None else [_hf_id(end, tokenizer, directory / name)]
        if bos is None and other.get("bos_token_id") is not None:
            bos = _hf_id(other["bos_token_id"], tokenizer, directory / name)
    for token_id, token in tokenizer.get_added_tokens_decoder().items():
        if token.content in END_TEXTS or (token.special and token.content in END_TEXTS_IF_CONTROL):
            ends.append(token_id)
    add_bos = config.get("add_bos_token")
    if not isinstance(add_bos, bool):
        # Newer files leave it to the post-processor inside tokenizer.json: see what it does.
        add_bos = bos is not None and tokenizer.encode("a").ids[:1] == [bos]
    ends = list(dict.fromkeys(ends))
    eos_text = _token_text(config.get("eos_token")) or (tokenizer.id_to_token(ends[0]) if ends else None)
    return TokenizerFacts(
        bos=bos,
        end_tokens=tuple(ends),
        add_bos=add_bos and bos is not None,
        chat_template=_hf_template(directory, config),
        bos_text=("" if bos is None else tokenizer.id_to_token(bos)) or "",
        eos_text=eos_text or "",
    )


def _hf_id(value: Any, tokenizer: tokenizers.Tokenizer, path: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < tokenizer.get_vocab_size():
        raise CorruptFile(f"{str(path)!r} names the token {value!r}, which the vocabulary does not have.")
    return value


def _hf_template(directory: Path, config: Mapping[str, Any]) -> str | None:
    path = directory / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8") or None
        except UnicodeDecodeError as error:
            raise CorruptFile(f"{str(path)!r} is not UTF-8 text.") from error
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    return template if isinstance(template, str) and template else None
