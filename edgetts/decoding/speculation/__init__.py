"""Draft tokens cheaply and verify several of them in one pass of the model.

Knows sessions, token ids and how long passes take. No text. By the exact rule what is emitted is what
plain decoding draws from the same logits: drafts decide only how many tokens a pass yields. Other
rules are named where they are asked for: rejection keeps the distribution, typical does not.
"""

from edgetts.decoding.sampling import Weights
from edgetts.decoding.speculation.acceptance import UNKNOWN_RATE, Acceptance
from edgetts.decoding.speculation.costs import PassCosts
from edgetts.decoding.speculation.decoder import SpeculativeDecoder
from edgetts.decoding.speculation.drafter import Drafter, Proposal
from edgetts.decoding.speculation.exit import ExitDrafter
from edgetts.decoding.speculation.model import DraftModel, ModelDrafter, check_vocabularies
from edgetts.decoding.speculation.ngram import NgramDrafter, NgramPool
from edgetts.decoding.speculation.parallel import ParallelDrafter
from edgetts.decoding.speculation.recurrent import RecurrentDrafter
from edgetts.decoding.speculation.speculator import Draft, Speculator, longest_draft

__all__ = [
    "UNKNOWN_RATE",
    "Acceptance",
    "Draft",
    "DraftModel",
    "Drafter",
    "ExitDrafter",
    "ModelDrafter",
    "NgramDrafter",
    "NgramPool",
    "ParallelDrafter",
    "PassCosts",
    "Proposal",
    "RecurrentDrafter",
    "SpeculativeDecoder",
    "Speculator",
    "Weights",
    "check_vocabularies",
    "longest_draft",
]
