"""Draft tokens cheaply and verify several of them in one pass of the model.

Knows sessions, token ids and how long passes take. No text. What is emitted is what plain decoding
draws from the same logits: drafts decide only how many tokens a pass yields.
"""

from edgetts.decoding.speculation.acceptance import Acceptance
from edgetts.decoding.speculation.costs import PassCosts
from edgetts.decoding.speculation.decoder import SpeculativeDecoder
from edgetts.decoding.speculation.drafter import Drafter, Proposal
from edgetts.decoding.speculation.heads import DraftNetwork, Guess, HeadDrafter
from edgetts.decoding.speculation.ngram import NgramDrafter, NgramPool
from edgetts.decoding.speculation.speculator import Draft, Speculator

DRAFTERS = (NgramDrafter.name, HeadDrafter.name)
"""Everyone who may guess, by name."""

__all__ = [
    "DRAFTERS",
    "Acceptance",
    "Draft",
    "DraftNetwork",
    "Drafter",
    "Guess",
    "HeadDrafter",
    "NgramDrafter",
    "NgramPool",
    "PassCosts",
    "Proposal",
    "SpeculativeDecoder",
    "Speculator",
]
