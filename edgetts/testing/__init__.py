"""The laws of the Session contract as tests, and fakes that obey them, for whoever writes a runtime."""

from edgetts.testing.contract import CancelledBySomebodyElse, SessionContract
from edgetts.testing.fake import FakeBranch, FakeSession, ToyModel
from edgetts.testing.searching import ToyTask, ToyTree, check_search, run_search
from edgetts.testing.statistics import Fit, goodness_of_fit

__all__ = [
    "SessionContract",
    "CancelledBySomebodyElse",
    "FakeSession",
    "FakeBranch",
    "ToyModel",
    "ToyTask",
    "ToyTree",
    "check_search",
    "run_search",
    "Fit",
    "goodness_of_fit",
]
