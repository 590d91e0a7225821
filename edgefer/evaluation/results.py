"""What an evaluation finds, as typed values; `Evaluation.to_dict` is the document that --json writes.

    Evaluation
      parts: all images first, then each subset that the data names
        heads: one per output of the network
          reference: ModelMetrics                    the float network against the targets
          artifacts: {format: ArtifactResult}        metrics against the targets, drift against the reference
          cross_runtime: CrossRuntime                TFLite against ONNX

A number that the data cannot give (no labels, no variance, one image) is None, never a pretended one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefer.evaluation.array_text import pack
from edgefer.evaluation.head_metrics import Drop, Estimate, Matrix, ModelMetrics

SCHEMA = "edgefer.evaluation/1"
REFERENCE = "reference"


@dataclass(frozen=True)
class Drift:
    """What an artifact does otherwise than the reference, on the same images.

    Attributes:
        max_abs_change: largest change of any output value.
        mean_abs_change: mean over all output values.
        sqnr_db: signal-to-quantization-noise ratio before the activation, see `metrics.before_activation`;
            None where the artifact equals the reference.
        agreement: share of images (action units: of decisions) that come out the same.
        flips: counts per class of the reference (rows) and of the artifact (columns), diagonal zero.
        kl: mean KL(reference || artifact) in nats; for action units summed over the units.
        smile_rank_correlation: Spearman's, of the probability of happy.
        accuracy_drop: needs labels.
        majority_accuracy_drop: against the raters' majority; needs votes.
        macro_f1_drop: reference minus artifact; needs labels.
        ccc_drop: mean over columns, reference minus artifact; needs targets of all.
        f1_drop: mean over action units, reference minus artifact; needs targets.
        tuned_f1_drop: the same with the thresholds of `ModelMetrics.tuned_units`.
        smile_recall_drop: at the same false-positive rate, with both thresholds as they are; needs labels.
        cosine_similarity: of embeddings, mean over images.
        neighbour_agreement: share of images whose most similar other image is the same.
    """

    max_abs_change: float
    mean_abs_change: float
    sqnr_db: float | None
    agreement: Estimate | None = None
    flips: Matrix | None = None
    kl: Estimate | None = None
    smile_rank_correlation: float | None = None
    accuracy_drop: Drop | None = None
    majority_accuracy_drop: Drop | None = None
    macro_f1_drop: Estimate | None = None
    ccc_drop: Estimate | None = None
    f1_drop: Estimate | None = None
    tuned_f1_drop: Estimate | None = None
    smile_recall_drop: Estimate | None = None
    cosine_similarity: Estimate | None = None
    neighbour_agreement: Estimate | None = None

    def to_dict(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """Plain data: only what there is; `kl` is the mean, its interval is `kl_ci95`."""
        changes = {
            "accuracy_drop": self.accuracy_drop,
            "agreement": self.agreement,
            "cosine_similarity": self.cosine_similarity,
            "neighbour_agreement": self.neighbour_agreement,
        }
        drops = {
            "majority_accuracy_drop": self.majority_accuracy_drop,
            "macro_f1_drop": self.macro_f1_drop,
            "ccc_drop": self.ccc_drop,
            "f1_drop": self.f1_drop,
            "tuned_f1_drop": self.tuned_f1_drop,
            "smile_recall_drop": self.smile_recall_drop,
        }
        document: dict[str, Any] = {key: value.to_dict() for key, value in (changes | drops).items() if value}
        if self.flips is not None:
            document["flips_per_class"] = {
                label: {other: count for other, count in zip(labels, row, strict=True) if count}
                for label, row in zip(labels, self.flips, strict=True)
            }
        if self.kl:
            document |= {"kl": self.kl.value, "kl_ci95": self.kl.ci95 and list(self.kl.ci95)}
        probabilities = "probability_change" if self.kl else "change"
        document |= {f"max_abs_{probabilities}": self.max_abs_change, f"mean_abs_{probabilities}": self.mean_abs_change}
        document["sqnr_db"] = self.sqnr_db
        if self.smile_rank_correlation is not None:
            document["smile_rank_correlation"] = self.smile_rank_correlation
        return document


@dataclass(frozen=True)
class ArtifactResult:
    """One head of one artifact."""

    metrics: ModelMetrics
    drift: Drift


@dataclass(frozen=True)
class CrossRuntime:
    """The int8 artifacts against each other.

    Attributes:
        agreement: share of images (action units: of decisions) that come out the same; None for continuous heads.
        max_abs_difference: largest difference of any output value.
        identical: share of images on which no output value differs by more than 1e-6, as float activations may.
    """

    agreement: Estimate | None
    max_abs_difference: float
    identical: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "agreement": self.agreement and self.agreement.value,
            "agreement_ci95": self.agreement and self.agreement.ci95 and list(self.agreement.ci95),
            "max_abs_difference": self.max_abs_difference,
            "identical": self.identical,
        }


@dataclass(frozen=True)
class HeadEvaluation:
    """One head on one part of the data.

    Attributes:
        name: the output's name.
        kind: what its numbers mean, as in the Spec.
        labels: one per column.
        labelled: images with a label, or with a target in any column.
        reference: the float network.
        artifacts: by format.
        cross_runtime: None where the bundle has one artifact only.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    labelled: int
    reference: ModelMetrics
    artifacts: Mapping[str, ArtifactResult]
    cross_runtime: CrossRuntime | None

    @property
    def chooses_class(self) -> bool:
        """Whether its largest value is its answer."""
        return any(result.drift.flips is not None for result in self.artifacts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "labelled": self.labelled,
            "labels": list(self.labels),
            "reference": self.reference.to_dict(),
            "artifacts": {
                format: result.metrics.to_dict() | result.drift.to_dict(self.labels)
                for format, result in self.artifacts.items()
            },
            "cross_runtime": self.cross_runtime and self.cross_runtime.to_dict(),
        }


@dataclass(frozen=True)
class Abaw:
    """The scores of the ABAW challenges, see `abaw.py`.

    Attributes:
        scores: by model, then by name: `p_expr`, `p_va`, `p_au`, and `p_mtl` where there are all three.
        drops: by format, then by name: reference minus artifact.
    """

    scores: Mapping[str, Mapping[str, float | None]]
    drops: Mapping[str, Mapping[str, Estimate | None]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        drops = {
            format: {f"{name}_drop": drop.to_dict() for name, drop in found.items() if drop}
            for format, found in self.drops.items()
        }
        return {
            REFERENCE: dict(self.scores[REFERENCE]),
            "artifacts": {format: {**self.scores[format], **drops[format]} for format in self.drops},
        }


@dataclass(frozen=True)
class Part:
    """All images, or a subset that the data names.

    Attributes:
        name: `all`, or the name of the mask.
        samples: how many images.
        heads: in the order of the Spec.
        abaw: None where the data has targets for expressions alone, or for nothing.
    """

    name: str
    samples: int
    heads: tuple[HeadEvaluation, ...]
    abaw: Abaw | None = None

    @property
    def main(self) -> HeadEvaluation:
        """The head that headlines are about: the first that chooses a class, else the first."""
        return next((head for head in self.heads if head.kind in ("expression", "classes")), self.heads[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the main head's, and under `heads` all of them where there are several."""
        document = {"samples": self.samples, "head": self.main.name, **self.main.to_dict()}
        if len(self.heads) > 1:
            document["heads"] = {head.name: {"kind": head.kind, **head.to_dict()} for head in self.heads}
        if self.abaw is not None:
            document["abaw"] = self.abaw.to_dict()
        return document


@dataclass(frozen=True)
class LayerDrift:
    """One planned activation on its way through the network.

    Attributes:
        tensor: its name in Plan and float graph.
        node: name of the node that makes it.
        op: that node's operator.
        sqnr_db: per format, of the stored values against the float network's, channel by channel however they were
            reordered, divided or multiplied; None where they are equal, and empty where float has no such tensor.
        differing: share of elements in which the formats store different integers; None with one format.
        max_lsb: largest difference of those integers.
        own_differing: the same share when the node is fed equal integers in both formats: what it adds itself.
        own_max_lsb: largest difference when fed equal integers.
    """

    tensor: str
    node: str
    op: str
    sqnr_db: Mapping[str, float | None]
    differing: float | None = None
    max_lsb: int | None = None
    own_differing: float | None = None
    own_max_lsb: int | None = None


@dataclass(frozen=True)
class LayerView:
    """Where along the network the damage is, and where the runtimes part.

    Attributes:
        images: how many it was measured on.
        layers: in network order.
        rebuilt: per format, whether Plan and reference rebuild the bundle's file to the byte, so that what is
            said of the rebuilt network is said of the file.
    """

    images: int
    layers: tuple[LayerDrift, ...]
    rebuilt: Mapping[str, bool]

    @property
    def first_difference(self) -> LayerDrift | None:
        """The first tensor that the runtimes store differently, None where all are equal."""
        return next((layer for layer in self.layers if layer.differing), None)

    @property
    def own_differences(self) -> Mapping[str, tuple[int, int]]:
        """Per operator: how many of its nodes differ when fed equal integers, and how many were compared."""
        counts: dict[str, tuple[int, int]] = {}
        for layer in self.layers:
            if layer.own_differing is not None:
                differing, compared = counts.get(layer.op, (0, 0))
                counts[layer.op] = (differing + (layer.own_differing > 0), compared + 1)
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        first = self.first_difference
        return {
            "images": self.images,
            "rebuilt": dict(self.rebuilt),
            "first_difference": first and {"tensor": first.tensor, "node": first.node, "op": first.op},
            "operators_that_differ": {
                op: {"differing": differing, "compared": compared}
                for op, (differing, compared) in self.own_differences.items()
            },
            "layers": [vars(layer) | {"sqnr_db": dict(layer.sqnr_db)} for layer in self.layers],
        }


@dataclass(frozen=True)
class Bound:
    """One bound and what was found.

    Attributes:
        name: `accuracy_drop` or `size`.
        format: of the artifact.
        limit: percentage points, or bytes.
        found: in the same unit; None where it could not be measured.
        held: None where there is too little evidence to judge.
        reason: why it could not be judged, `""` if it was.
    """

    name: str
    format: str
    limit: float
    found: float | None
    held: bool | None
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether the bounds hold."""

    bounds: tuple[Bound, ...]

    @property
    def held(self) -> bool | None:
        """False when a bound is broken, None when none is but one could not be judged."""
        if any(bound.held is False for bound in self.bounds):
            return False
        return None if any(bound.held is None for bound in self.bounds) else True

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"held": self.held, "bounds": [vars(bound) for bound in self.bounds]}


@dataclass(frozen=True)
class DataIdentity:
    """The images, and what of them could not be used.

    Attributes:
        source: name of the folder or file.
        sha256: of names, contents and labels.
        skipped: images that could not be read.
        unmatched_classes: classes of the data that no head knows; their images count in no label metric.
        left_out: how many images those are.
        missing_classes: classes of the main head without counterpart in the data.
        notes: what else a reader should know about the targets, a sentence each.
        sequences: how many images each sequence has, in their order; empty where images are by themselves.
    """

    source: str
    sha256: str
    skipped: int = 0
    unmatched_classes: tuple[str, ...] = ()
    left_out: int = 0
    missing_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sequences: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return vars(self) | {key: list(value) for key, value in vars(self).items() if isinstance(value, tuple)}


@dataclass(frozen=True)
class BundleIdentity:
    """The bundle that was evaluated.

    Attributes:
        name: the network's.
        edgefer_version: that made it.
        sha256: of its SHA256SUMS, which names every file's.
        artifacts: by format: file, bytes and sha256; `reference` for the float network.
    """

    name: str
    edgefer_version: str
    sha256: str
    artifacts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What every model said about every image.

    Attributes:
        names: one per image.
        values: by model (`reference`, then formats) and head: float32 (images, columns).
    """

    names: tuple[str, ...]
    values: Mapping[str, Mapping[str, npt.NDArray[np.float32]]]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A bundle on a set of images.

    Attributes:
        bundle: what was evaluated.
        data: on what.
        parts: all images, then the subsets that the data names.
        verdict: the bounds.
        layers: None where it was not asked for.
        outputs: what everything else was computed from.
        labels: int64, index of each image's class in the main head, -1 without one; None for data without labels.
        versions: of edgefer and the runtimes, and the machine.
        targets: by head, what is true: classes (images,), -1 for unknown, or values (images, columns), NaN for unknown.
    """

    bundle: BundleIdentity
    data: DataIdentity
    parts: tuple[Part, ...]
    verdict: Verdict
    layers: LayerView | None
    outputs: Outputs
    labels: npt.NDArray[np.int64] | None
    versions: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def all(self) -> Part:
        """All images."""
        return self.parts[0]

    def most_changed(self, count: int = 20) -> npt.NDArray[np.int64]:
        """Indices of the images on which any artifact's main head moves furthest, the furthest first.

        The distance of two outputs is half the sum of absolute differences: total variation, for probabilities.
        """
        head = self.all.main.name
        reference = self.outputs.values[REFERENCE][head]
        distances = [
            np.abs(values[head] - reference).sum(axis=1) / 2
            for model, values in self.outputs.values.items()
            if model != REFERENCE
        ]
        furthest: npt.NDArray[np.int64] = np.argsort(-np.max(distances, axis=0), kind="stable")[:count]
        return furthest

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.evaluation/1`."""
        return {
            "schema": SCHEMA,
            "bundle": vars(self.bundle) | {"artifacts": {k: dict(v) for k, v in self.bundle.artifacts.items()}},
            "data": self.data.to_dict(),
            **self.all.to_dict(),
            "subsets": {part.name: part.to_dict() for part in self.parts[1:]},
            "verdict": self.verdict.to_dict(),
            "layers": self.layers and self.layers.to_dict(),
            "versions": dict(self.versions),
            "per_image": {head.name: self._per_image(head) for head in self.all.heads},
        }

    def _per_image(self, head: HeadEvaluation) -> dict[str, str]:
        """What is true and what each model says: the class, for heads that choose one, else all values."""
        said = {model: values[head.name] for model, values in self.outputs.values.items()}
        if head.chooses_class:
            said = {model: values.argmax(axis=1) for model, values in said.items()}
        targets = {"targets": self.targets[head.name]} if head.name in self.targets else {}
        return {name: pack(values) for name, values in (targets | said).items()}
