"""Put tasks to a model and say how it did: accuracy with intervals, costs, confidence. Knows no tensors.

An engine answers; what is measured here is what it returned. Records of runs are files of JSON lines.
"""

from edgetts.evaluation.comparison import Comparison, compare
from edgetts.evaluation.loading import load_run, votes_of
from edgetts.evaluation.record import ProblemRecord, Run, SampleRecord
from edgetts.evaluation.recording import Recorder
from edgetts.evaluation.report import report_html
from edgetts.evaluation.runner import Settings, evaluate
from edgetts.evaluation.summary import Summary, summarize
from edgetts.evaluation.tasks import Attempt, Problem, Task, make_task

__all__ = [
    "Attempt",
    "Comparison",
    "Problem",
    "ProblemRecord",
    "Recorder",
    "Run",
    "SampleRecord",
    "Settings",
    "Summary",
    "Task",
    "compare",
    "evaluate",
    "load_run",
    "make_task",
    "report_html",
    "summarize",
    "votes_of",
]
