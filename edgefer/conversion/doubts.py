"""What the user must hear about a conversion that went through all the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log10

import numpy as np

from edgefer.evaluation.heads import chooses_class
from edgefer.evaluation.quick_look import Values, measure_name, shown, sqnr
from edgefer.evaluation.results import REFERENCE
from edgefer.images import CalibrationImages
from edgefer.quantize.method import Quantized
from edgefer.spec import Spec

_POOR = 0.9  # agreement
_NOISY = 15.0  # signal-to-noise ratio in dB, of heads that choose no class
_SEVERAL = 10  # images that hardly all have the same answer


def doubts(agreements: Mapping[str, Mapping[str, float]], outputs: Mapping[str, Values], spec: Spec) -> Iterator[str]:
    """What would make a bundle useless though it was written without an error, for people.

    Args:
        agreements: by format and head, on held-back images.
        outputs: of the reference and each format there.
        spec: says what heads mean.
    """
    reference = outputs[REFERENCE]
    for format, heads in agreements.items():
        ratios = sqnr(reference, outputs[format], spec)
        for head in spec.outputs:
            found = outputs[format][head.name]
            if without := len(found) - int(np.isfinite(found).all(axis=1).sum()):
                yield (
                    f"{head.name!r} of the {format} file is no number for {without} of {len(found)} held-back images: "
                    "do not use it.  A root, logarithm or divisor in the network has no answer where rounding leads"
                )
                continue
            value, ratio = heads[head.name], ratios[head.name]
            is_noisy = not chooses_class(head) and len(reference[head.name]) >= _SEVERAL and ratio < _NOISY
            if value < _POOR or is_noisy:
                noise = f" and a signal-to-noise ratio of {ratio:.1f} dB" if is_noisy else ""
                yield (
                    f"{head.name!r} of the {format} file is far from float on held-back images, with "
                    f"{shown(head, value)} {measure_name(head)}{noise}; try more calibration images, and more kinds "
                    "of them"
                )
    for head in spec.outputs:
        answers = reference[head.name].argmax(axis=1)
        if chooses_class(head) and len(answers) >= _SEVERAL and len(set(answers.tolist())) == 1:
            yield (
                f"the float network answers {head.labels[answers[0]]!r} for all {len(answers)} held-back images, so "
                "that agreement there says nothing: are mean, std and color in the Spec those of the training?"
            )


def too_few(images: CalibrationImages, quantized: Quantized) -> str:
    """How far halves of the calibration images lead apart, for people."""
    if not quantized.halves:
        return "the calibration set is too small: it is one image; use hundreds, of many kinds"
    first, second = (f"{-10 * log10(noise):.1f} dB" for noise in quantized.halves)
    return (
        f"the calibration set is too small: one half of its {len(images.calibration)} images gives a signal-to-noise "
        f"ratio of {first}, the other {second}; use more images, and more kinds of them"
    )


def chosen_for(machine: str) -> str:
    """Where what computes in float is fast, for people."""
    return (
        f"what computes in float was chosen by what operators cost on {machine}, on ARM that may be far slower: give a "
        "--target, or measure your board with `edgefer benchmark --operator-costs --json FILE` and give --costs FILE"
    )
