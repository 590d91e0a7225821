"""What an evaluation says about the artifacts that are packaged: the part of it that a model card tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefer.bundle import Bundle
from edgefer.errors import InputError
from edgefer.evaluation.results import SCHEMA
from edgefer.host.documents import read_document

METRICS: Mapping[str, str] = {
    "accuracy": "accuracy",
    "mean_ccc": "concordance (CCC), mean",
    "mean_f1": "F1, mean",
    "accuracy_drop": "accuracy lost against float, points",
    "ccc_drop": "CCC lost against float",
    "f1_drop": "F1 lost against float",
    "agreement": "agreement with float",
    "cosine_similarity": "cosine similarity to float",
    "neighbour_agreement": "same nearest neighbour as float",
}
"""What is told where it was measured: key in the evaluation, title."""

SHARES = ("accuracy", "agreement", "neighbour_agreement")
"""Metrics that are shares of images."""


@dataclass(frozen=True)
class Figure:
    """A number and its 95 % interval, None where it has none."""

    value: float
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class HeadEvidence:
    """One output.

    Attributes:
        name: of the output.
        labelled: images with a target for it.
        figures: by model (`float`, then formats) and key of `METRICS`.
        recall: by format and label; None for labels without images.
    """

    name: str
    labelled: int
    figures: Mapping[str, Mapping[str, Figure]]
    recall: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Evidence:
    """An evaluation of the packaged files.

    Attributes:
        source: name of the image set.
        sha256: of its contents.
        samples: how many images.
        heads: every output.
    """

    source: str
    sha256: str
    samples: int
    heads: tuple[HeadEvidence, ...]


def read_evidence(path: Path, bundle: Bundle) -> Evidence:
    """Read what `edgefer evaluate --json` wrote.

    Raises:
        InputError: it is no evaluation, or one of other files than the bundle's.
    """
    evidence, judged = read_document(path, SCHEMA, "edgefer evaluate BUNDLE --data FACES --json").read(_evidence)
    for artifact in bundle.artifacts:
        if not artifact.is_reference and artifact.sha256 not in judged:
            raise InputError(
                f"{path}: is about other files: it did not judge the {artifact.file} of {bundle.path}",
                remedy="Evaluate this bundle.",
            )
    return evidence


def _evidence(document: Mapping[str, Any]) -> tuple[Evidence, set[str]]:
    """What an evaluation found, and the SHA-256 of the files that it is about."""
    heads = document.get("heads") or {document["head"]: document}
    evidence = Evidence(
        str(document["data"]["source"]),
        str(document["data"]["sha256"]),
        int(document["samples"]),
        tuple(_head(str(name), head) for name, head in heads.items()),
    )
    return evidence, {str(entry["sha256"]) for entry in document["bundle"]["artifacts"].values()}


def _head(name: str, head: Mapping[str, Any]) -> HeadEvidence:
    models = {"float": head["reference"], **head["artifacts"]}
    return HeadEvidence(
        name,
        int(head["labelled"]),
        {
            model: {key: _figure(found[key]) for key in METRICS if found.get(key) is not None}
            for model, found in models.items()
        },
        {format: _recall(found) for format, found in head["artifacts"].items() if "recall_per_class" in found},
    )


def _figure(found: Any) -> Figure:
    if not isinstance(found, Mapping):
        return Figure(float(found))
    low, high = found.get("ci95") or (None, None)
    value = float(found["points"] if "points" in found else found["value"])
    return Figure(value, None if low is None or high is None else (float(low), float(high)))


def _recall(found: Mapping[str, Any]) -> dict[str, float | None]:
    return {str(label): None if r is None else float(r) for label, r in found["recall_per_class"].items()}
