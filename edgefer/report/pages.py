"""The documents, put together from sections: what a conversion made, an evaluation found, boards took."""

from __future__ import annotations

from collections.abc import Iterable

from edgefer.device.results import Benchmark
from edgefer.evaluation.results import Evaluation
from edgefer.images import ImageSet
from edgefer.report import benchmark, conversion, evaluation, timeline
from edgefer.report.conversion import Manifest
from edgefer.report.markup import Html, html, join, page, section
from edgefer.report.shrinking import section_shrinking
from edgefer.report.solution import section_solution
from edgefer.spec import Spec
from edgefer.timeline.results import Run


def conversion_report(manifest: Manifest, evaluated: Evaluation | None = None) -> str:
    """One HTML document about a bundle.

    Args:
        manifest: what `manifest.json` holds; equal arguments give equal documents.
        evaluated: the bundle on held-back images; None leaves out what they show.
    """
    found = evaluation.sections_drift(manifest, evaluated) if evaluated is not None else []
    return _document(
        manifest,
        "conversion report",
        (
            conversion.section_verdict(manifest),
            conversion.section_artifacts(manifest),
            section_shrinking(manifest),
            section_solution(manifest),
            conversion.section_contract(manifest),
            conversion.section_python(manifest),
            *found,
            conversion.section_calibration(manifest),
            conversion.section_quantization(manifest),
            conversion.section_provenance(manifest),
        ),
    )


def evaluation_report(manifest: Manifest, evaluated: Evaluation, images: ImageSet | None = None) -> str:
    """One HTML document about an evaluated bundle; sections without data are left out.

    Args:
        manifest: what the bundle's `manifest.json` holds.
        evaluated: results for that bundle; equal ones give equal documents.
        images: the evaluated set, for its pixels to be in the document; None to keep them out.
    """
    return _document(
        manifest,
        "evaluation report",
        (
            evaluation.section_verdict(evaluated),
            section("Size", conversion.size_chart(manifest)),
            *evaluation.sections_drift(manifest, evaluated, images),
            evaluation.section_evidence(evaluated),
            conversion.section_calibration(manifest),
            conversion.section_quantization(manifest),
            conversion.section_provenance(manifest),
        ),
    )


def benchmark_report(manifest: Manifest, measured: Benchmark) -> str:
    """One HTML document about a bundle on boards; equal results give equal documents.

    Args:
        manifest: what the bundle's `manifest.json` holds.
        measured: results for that bundle.
    """
    return _document(
        manifest,
        "benchmark report",
        (
            benchmark.section_verdict(measured),
            benchmark.section_side_by_side(measured),
            *(benchmark.section_device(run) for run in measured.runs),
            benchmark.section_settings(measured),
            conversion.section_provenance(manifest),
        ),
    )


def run_report(manifest: Manifest, found: Run) -> str:
    """One HTML document about faces in videos; equal results give equal documents.

    Args:
        manifest: what the bundle's `manifest.json` holds.
        found: results of that bundle.
    """
    spec = Spec.from_dict({"input": manifest["input"], "outputs": manifest["outputs"]})
    return _document(
        manifest,
        "faces over time",
        (
            timeline.section_seen(found),
            *(timeline.section_source(each, spec) for each in found.timelines[: timeline.SOURCES]),
            timeline.section_how(found, spec),
            conversion.section_provenance(manifest),
        ),
    )


def _document(manifest: Manifest, title: str, sections: Iterable[Html]) -> str:
    body = html(
        "<main>\n{sections}\n</main>\n{notice}",
        sections=join(filter(None, sections)),
        notice=conversion.employment_notice(manifest),
    )
    return page(f"{manifest['name']}: {title}", body)
