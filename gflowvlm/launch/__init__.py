"""The verbs behind the command line: build the parts of a run and let them work."""

from gflowvlm.launch.compare import compare
from gflowvlm.launch.evaluate import evaluate
from gflowvlm.launch.exact import analyse_run, evaluate_exactly
from gflowvlm.launch.export import export
from gflowvlm.launch.lengths import compute_by_length, evaluate_by_length
from gflowvlm.launch.play import play
from gflowvlm.launch.report import ReportOptions, report, watch
from gflowvlm.launch.train import train

__all__ = [
    "ReportOptions",
    "analyse_run",
    "compare",
    "compute_by_length",
    "evaluate",
    "evaluate_by_length",
    "evaluate_exactly",
    "export",
    "play",
    "report",
    "train",
    "watch",
]
