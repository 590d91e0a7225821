"""Reports for people: one self-contained HTML file, without scripts and without requests."""

from edgefer.report.pages import conversion_report, evaluation_report

__all__ = ["conversion_report", "evaluation_report"]
