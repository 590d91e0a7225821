"""Reports for people: one self-contained HTML file, without scripts and without requests."""

from edgefer.report.pages import benchmark_report, conversion_report, evaluation_report, run_report

__all__ = ["benchmark_report", "conversion_report", "evaluation_report", "run_report"]
