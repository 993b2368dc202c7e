"""Find a text's final answer, and say which answers are the same; knows nothing of how likely a text was."""

from edgetts.selection.answers.extraction import SEARCHED_CHARS, AnswerFormat, Extracted, extract

__all__ = ["SEARCHED_CHARS", "AnswerFormat", "Extracted", "extract"]
