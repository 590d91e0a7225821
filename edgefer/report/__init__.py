"""Reports for people: one self-contained HTML file, without scripts and without requests."""

from edgefer.report.conversion import conversion_report
from edgefer.report.evaluation import evaluation_report

__all__ = ["conversion_report", "evaluation_report"]
