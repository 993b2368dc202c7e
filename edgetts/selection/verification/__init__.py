"""Check a text without the model that wrote it, and say how often such a check errs."""

from edgetts.selection.verification.registry import make_verifier
from edgetts.selection.verification.verifier import ErrorRates, Verdict, Verifier, Work

__all__ = ["ErrorRates", "Verdict", "Verifier", "Work", "make_verifier"]
