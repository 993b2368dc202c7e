"""Decide which matrices of a static bundle are held in integers, and in how many bits, by measured error.

Knows matrices, texts and what rounding does to the model's output; knows nothing of targets and files.
"""

from edgetts.export.static.precision.choosing import LADDER, Choice, choose_forms

__all__ = ["LADDER", "Choice", "choose_forms"]
