"""What a way of choosing an answer needs from its surroundings."""

from __future__ import annotations

from typing import Literal

Need = Literal["logprobs", "score", "verifier", "fork", "several"]
"""logprobs: of every token. score: a scorer. verifier: a check of texts. fork: branches of a prefix.

several: that samples differ, so a temperature above 0.
"""
