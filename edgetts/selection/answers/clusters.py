"""Which free texts say the same, and which of them says most of what all say; knows no meaning of words.

Two texts are as similar as the words, and pairs of neighbouring words, that they share: the F1 measure of
"SQuAD: 100,000+ Questions for Machine Comprehension of Text", with pairs so that order counts. It takes
time in proportion to the texts, and a word of difference counts as one word, whatever its letters:
measures on characters (edit distance, n-grams) take "increase" for "decrease". It sees no synonyms, which
would take a model as in "Semantic Uncertainty: Linguistic Invariances for Uncertainty Estimation in
Natural Language Generation".
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from edgetts.errors import InvalidInput
from edgetts.selection.answers.spelling import canonical_text

COMPARED_CHARS = 4_096
"""Of each text this many first characters are compared."""
COMPARED_TEXTS = 128
"""Different texts that are compared with each other; what more there are is the same only as itself."""
SAME = 0.8
"""Texts as similar as this say the same: in a sentence of seven words, one other word is too many."""

_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"  # scripts without space: a sign is a word
    r"|(?:(?<!\w)[-\u2212])?\d+(?:[.,:/]\d+)*|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
    r"|[^\w\s.,;:!?'\"()\u2018-\u201f-]"  # C++ is not C
)
_NEGATIONS = frozenset(
    {"not", "no", "never", "none", "nothing", "nobody", "neither", "nor", "without", "cannot", "nt", "false"}
)
Words = Counter[tuple[str, ...]]


def similarity(one: str, other: str) -> float:
    """Return how much of their words two texts share, 0 to 1 (word F1, with pairs of neighbours)."""
    return _f1(_words(_tokens(one)), _words(_tokens(other)))


def clusters(texts: Sequence[str], threshold: float = SAME) -> list[list[int]]:
    """Group texts that say the same; return the indices of each group, the groups by their first text.

    Any two of a group are at least `threshold` similar, and agree in every number and negation, since
    those turn a sentence around. Groups are joined from the most similar on (complete linkage), ties in
    alphabetical order: so neither the order of texts nor how often each is given changes which are together.
    Errors: InvalidInput for a threshold outside 0 to 1.
    """
    if not 0 <= threshold <= 1:
        raise InvalidInput(f"The similarity {threshold} is not between 0 and 1.")
    spelled = [canonical_text(text) for text in texts]
    different = sorted(set(spelled))
    compared, rest = different[:COMPARED_TEXTS], different[COMPARED_TEXTS:]
    group_of: dict[str, int] = {}
    for number, group in enumerate([*_linked(compared, threshold), *([text] for text in rest)]):
        group_of |= dict.fromkeys(group, number)
    members: dict[int, list[int]] = {}
    for index, text in enumerate(spelled):
        members.setdefault(group_of[text], []).append(index)
    return [members[number] for number in sorted(members)]


def minimum_bayes_risk(texts: Sequence[str], weights: Sequence[float] | None = None) -> int:
    """Return the index of the text with the highest expected similarity to all ("Minimum Bayes-Risk Decoding
    for Statistical Machine Translation", over samples as in "Is MAP Decoding All You Need?").

    Each text is a hypothesis, and evidence of the given weight (1 unless told); it counts for itself, too.
    Ties go to the heavier text, then to the shorter, then by alphabet; of equal texts to the first.
    Of more than `COMPARED_TEXTS` different texts the heaviest are compared.
    Errors: InvalidInput for no texts, or weights that are negative, not finite, or not one a text.
    """
    if not texts:
        raise InvalidInput("There are no texts to choose from.", hint="Draw at least one.")
    weights = [1.0] * len(texts) if weights is None else weights
    if len(weights) != len(texts) or any(not math.isfinite(w) or w < 0 for w in weights):
        raise InvalidInput("Every text needs a weight that is finite and not negative.")
    ballots: dict[str, list[float]] = {}
    for text, weight in zip(texts, weights, strict=True):
        ballots.setdefault(canonical_text(text), []).append(weight)
    mass = {text: math.fsum(cast) for text, cast in ballots.items()}
    heaviest = sorted(mass, key=lambda text: (-mass[text], len(text), text))[:COMPARED_TEXTS]
    words = [_words(_tokens(text)) for text in heaviest]
    similar = _similarities(words)
    expected = [
        math.fsum(mass[other] * similar[i][j] for j, other in enumerate(heaviest))
        for i in range(len(heaviest))
    ]
    best = max(range(len(heaviest)), key=lambda i: (round(expected[i], 12), -i))
    return next(i for i, text in enumerate(texts) if canonical_text(text) == heaviest[best])


def _tokens(text: str) -> list[str]:
    spelled = canonical_text(text[:COMPARED_CHARS])
    return _WORD.findall(re.sub(r"n['\u2019]t\b", " nt", spelled)) or list(spelled)


def _words(tokens: list[str]) -> Words:
    return Counter([*((token,) for token in tokens), *pairwise(tokens)])


def _f1(one: Words, other: Words) -> float:
    total = sum(one.values()) + sum(other.values())
    if not total:
        return 1.0 if one == other else 0.0
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    shared = sum(min(count, many[word]) for word, count in few.items() if word in many)
    return 2 * shared / total


def _similarities(words: list[Words]) -> list[list[float]]:
    similar = [[1.0] * len(words) for _ in words]
    for i in range(len(words)):
        for j in range(i):
            similar[i][j] = similar[j][i] = _f1(words[i], words[j])
    return similar


def _turning(tokens: list[str]) -> Counter[str]:
    """What turns a sentence around when it differs: its numbers and its negations."""
    return Counter("not" if t in _NEGATIONS else t for t in tokens if t in _NEGATIONS or t[-1].isdigit())


def _linked(texts: list[str], threshold: float) -> list[list[str]]:
    """Complete linkage over different texts in alphabetical order."""
    tokens = [_tokens(text) for text in texts]
    turning = [_turning(one) for one in tokens]
    similar = _similarities([_words(one) for one in tokens])
    near = {
        (i, j): similar[i][j]
        for j in range(len(texts))
        for i in range(j)
        if similar[i][j] >= threshold and turning[i] == turning[j]
    }
    groups = {i: [i] for i in range(len(texts))}
    while near:
        one, other = min(near, key=lambda pair: (-near[pair], pair))
        groups[one] += groups.pop(other)
        joined = {}
        for third in groups:
            if third != one:
                left = near.get((min(one, third), max(one, third)))
                right = near.get((min(other, third), max(other, third)))
                if left is not None and right is not None:
                    joined[min(one, third), max(one, third)] = min(left, right)
        near = {pair: v for pair, v in near.items() if not {one, other} & {*pair}} | joined
    return [[texts[i] for i in sorted(group)] for group in groups.values()]
