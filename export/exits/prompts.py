"""Questions that a model's own text is drawn from: many kinds, so that heads learn its ways and not a subject."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

_EXPLAIN = (
    "Explain {} to a curious child.",
    "What is {}, and why does it matter?",
    "Give me five facts about {}.",
    "Write a short paragraph about {}.",
    "What are common mistakes people make with {}?",
    "Write a friendly email that asks a colleague about {}.",
)
_SUBJECTS = (
    "rain", "compound interest", "bread baking", "the French Revolution", "electric motors", "sleep", "vaccines",
    "chess openings", "soil", "recycling", "the moon", "coral reefs", "public libraries", "passwords", "bicycles",
    "photosynthesis", "the water cycle", "earthquakes", "honey bees", "maps", "budgeting", "the human heart",
    "jazz", "glass", "volcanoes", "job interviews", "tea", "gravity", "antibiotics", "tides", "printing",
    "wind power", "knitting", "the Roman Empire", "batteries", "migration of birds", "mathematical proofs",
    "first aid", "rice", "the internet", "noise", "rivers", "democracy", "the periodic table", "gardening",
    "running", "museums", "satellites", "contracts", "yeast", "dialects", "paper", "lighthouses", "salt",
)  # fmt: skip
_CODE = (
    "Write a Python function that {}.",
    "Write a Python function with a docstring and type hints that {}.",
    "Show me how to write a program in Python that {}, and explain it.",
    'Complete this code:\n\ndef solve(values):\n    """A function that {}."""\n',
)
_TASKS = (
    "counts the vowels in a string", "reverses the words of a sentence", "finds the second largest number in a list",
    "merges two sorted lists", "checks whether a number is prime", "returns the n-th Fibonacci number",
    "removes duplicates from a list and keeps the order", "converts Celsius to Fahrenheit",
    "checks whether brackets are balanced", "computes the average of each column of a table",
    "groups words by their first letter", "finds the longest common prefix of a list of strings",
    "reads a CSV file and sums a column", "flattens a nested list", "rotates a list by k places",
    "counts how often each word occurs in a text", "finds all pairs of numbers with a given sum",
    "validates an email address with a regular expression", "sorts dictionaries by a key",
    "computes the greatest common divisor of two numbers", "encodes a string with run lengths",
    "transposes a matrix", "finds the missing number in a sequence", "splits a list into chunks of equal size",
    "computes the distance between two points", "checks whether two strings are anagrams",
    "returns the digits of a number as a list", "finds the maximum sum of a contiguous slice",
)  # fmt: skip
_NAMES = ("Ada", "Tom", "Mei", "Omar", "Lena", "Ravi", "Sara", "Jon", "Ines", "Kofi", "Yuki", "Paul")
_THINGS = (
    "apples",
    "books",
    "stamps",
    "tickets",
    "bottles",
    "pencils",
    "shirts",
    "loaves",
    "marbles",
    "tiles",
)
_SUMS = (
    "{a} has {x} {t}. {b} gives {a} {y} more, and {a} then sells {z} of them. How many {t} does {a} have left?",
    "A box holds {x} {t}. {a} fills {y} boxes and has {z} {t} over. How many {t} are there in all?",
    "{a} buys {x} {t} at {y} dollars each and pays with a {z}00 dollar note. How much change does {a} get?",
    "{a} makes {x} {t} an hour and {b} makes {y}. How many {t} do they make together in {z} hours?",
    "There were {x}0 {t} on Monday. Each day {a} uses {y} of them. How many are left after {z} days?",
    "{a} is {x} years old, {y} years older than {b}. How old will {b} be in {z} years?",
    "A train travels {x}0 km in {y} hours. At the same speed, how far does it travel in {z} hours?",
    "{a} reads {y} pages a day of a book of {x}0 pages. How many pages are left after {z} days?",
)
_STEPS = ("", " Think step by step.", " Show your work and end with 'The answer is X'.")
_OTHERS = (
    "Translate into French: The {} is near the old bridge, and it opens at nine.",
    "Make a list of ten words that rhyme with or sound like {}.",
    "Tell a story of a hundred words in which {} plays a part.",
    "Compare {} with something similar in a table.",
    "Summarise what an encyclopedia would say about {} in three bullet points.",
    "Write a poem about {}.",
)


def prompts(seed: int) -> Iterator[str]:
    """Yield questions for ever, each kind in turn; the same seed gives the same ones."""
    random = np.random.default_rng(seed)

    def one(of: tuple[str, ...]) -> str:
        return of[int(random.integers(len(of)))]

    for turn in itertools.count():
        kind = turn % 4
        if kind == 0:
            yield one(_EXPLAIN).format(one(_SUBJECTS))
        elif kind == 1:
            yield one(_CODE).format(one(_TASKS))
        elif kind == 2:
            first, second = (str(name) for name in random.choice(np.asarray(_NAMES), 2, replace=False))
            x, y, z = (int(n) for n in random.integers(2, 40, 3))
            story = one(_SUMS).format(a=first, b=second, t=one(_THINGS), x=max(x, y) + z, y=y, z=z)
            yield story + one(_STEPS)
        else:
            yield one(_OTHERS).format(one(_SUBJECTS))
