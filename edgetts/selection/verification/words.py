"""Words that tell how far an expression goes, and which words may stand beside it unread; knows no grammar."""

from __future__ import annotations

NO_UNITS = frozenset({
    "bigger", "choose", "cubed", "factorial", "fewer", "greater", "half", "higher", "larger", "less",
    "longer", "lower", "minus", "mod", "more", "older", "out", "plus", "quarter", "quarters", "shorter",
    "smaller", "squared", "than", "third", "thirds", "times", "twice", "younger",
})  # fmt: skip
"""Words behind a number that change it, so that it is not read at all."""

PROSE = frozenset({
    "after", "and", "are", "as", "at", "because", "before", "but", "by", "equals", "for", "from",
    "gives", "had", "has", "have", "he", "hence", "i", "if", "in", "into", "is", "it", "let", "means",
    "next", "not", "now", "on", "or", "she", "since", "so", "that", "the", "then", "there", "therefore",
    "they", "this", "thus", "to", "using", "was", "we", "were", "when", "where", "which", "while",
    "will", "with", "would", "you",
})  # fmt: skip
"""Words that no unit begins with or contains: there the number has ended."""

APPROXIMATELY = frozenset({
    "about", "almost", "approx", "approximately", "around", "nearly", "roughly", "~",
})  # fmt: skip
"""Before a number that is rough."""

LABELS = frozenset({
    "case", "cases", "chapter", "chapters", "day", "days", "equation", "equations", "example",
    "examples", "figure", "figures", "grade", "grades", "level", "levels", "line", "lines", "month",
    "months", "no", "number", "numbers", "option", "options", "page", "pages", "part", "parts", "phase",
    "phases", "problem", "problems", "q", "question", "questions", "room", "rooms", "round", "rounds",
    "stage", "stages", "step", "steps", "table", "tables", "week", "weeks", "year", "years",
})  # fmt: skip
"""Words whose number is a name: step 3."""

CHANGING = frozenset({
    "abs", "add", "adding", "and", "average", "between", "by", "ceil", "choose", "cos", "cubed",
    "difference", "divide", "dividing", "double", "except", "factorial", "fewer", "floor", "fourth", "from",
    "gcd", "half", "if", "into", "lcm", "less", "ln", "log", "max", "mean", "min", "minus", "mod",
    "modulo", "more", "multiply", "multiplying", "not", "or", "out", "over", "per", "percent", "plus",
    "product", "quarter", "quarters", "ratio", "remainder", "root", "round", "sin", "sqrt", "squared",
    "subtract", "subtracting", "tan", "than", "third", "thirds", "thrice", "through", "times", "to",
    "triple", "twice", "until", "within", "without",
})  # fmt: skip
"""Words before an expression after which it may be but part of what is meant, as in "half of", "3 and"."""

SUMS = frozenset({
    "amount", "cost", "distance", "income", "length", "pay", "price", "profit", "result", "sum",
    "total", "value", "weight",
})  # fmt: skip
"""What an expression behind "of" may be: a total of 3 + 4."""

COUNTS = frozenset({
    "a", "an", "half", "one", "three", "two",
})  # fmt: skip
"""Words that go on with a number behind "and": seven and a half."""

SHORT_UNITS = frozenset({
    "cents", "cm", "ft", "hr", "hrs", "kg", "km", "kmh", "lb", "lbs", "mg", "mi", "min", "mins", "ml",
    "mm", "mph", "oz", "sec", "secs",
})  # fmt: skip
"""Units that may be written to their number, as other short words may not: 5x is no unit."""
