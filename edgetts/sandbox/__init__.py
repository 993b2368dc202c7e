"""Run Python that a model wrote, in processes that can do nothing else; knows no models, texts or answers."""

from edgetts.sandbox.checks import Checked, CheckResult, run_checks
from edgetts.sandbox.confinement import Confinement, confinement
from edgetts.sandbox.execution import Execution, Outcome
from edgetts.sandbox.limits import Limits
from edgetts.sandbox.run import run_python

__all__ = [
    "CheckResult",
    "Checked",
    "Confinement",
    "Execution",
    "Limits",
    "Outcome",
    "confinement",
    "run_checks",
    "run_python",
]
