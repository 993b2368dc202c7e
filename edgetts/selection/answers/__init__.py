"""Find a text's final answer, and say which answers are the same; knows nothing of how likely a text was."""

from edgetts.selection.answers.clusters import clusters, minimum_bayes_risk, similarity
from edgetts.selection.answers.equivalence import classes, read_answer, same_answer
from edgetts.selection.answers.extraction import SEARCHED_CHARS, extract
from edgetts.selection.answers.format import AnswerFormat
from edgetts.selection.answers.found import AnswerKind, Extracted
from edgetts.selection.answers.tokens import answer_tokens

__all__ = [
    "SEARCHED_CHARS",
    "AnswerFormat",
    "AnswerKind",
    "Extracted",
    "answer_tokens",
    "classes",
    "clusters",
    "extract",
    "minimum_bayes_risk",
    "read_answer",
    "same_answer",
    "similarity",
]
