"""The images on which the artifacts moved furthest from the float network, with what each model said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefer.errors import InputError
from edgefer.evaluation.heads import as_probabilities
from edgefer.evaluation.metrics import Floats
from edgefer.evaluation.results import REFERENCE, Evaluation, HeadEvaluation
from edgefer.evaluation.summary import NAMES
from edgefer.images import Image, ImageSet
from edgefer.images.preprocess import to_pixels
from edgefer.report.charts import signed
from edgefer.report.markup import Html, html, join, section
from edgefer.spec import InputSpec


def section_changes(evaluation: Evaluation, spec: InputSpec, images: ImageSet | None = None, count: int = 20) -> Html:
    """A card for each image that changed most, the furthest first.

    Args:
        evaluation: knows which and how far.
        spec: larger images are shown as the network sees them.
        images: where the pixels are; None to show none.
        count: at most so many images.
    """
    head = evaluation.all.main
    chosen = [int(index) for index in evaluation.most_changed(count)]
    outputs = {model: heads[head.name][chosen] for model, heads in evaluation.outputs.values.items()}
    chooses = head.chooses_class
    if chooses:
        outputs = {model: as_probabilities(values) for model, values in outputs.items()}
    cards = [
        _card(
            evaluation.outputs.names[index],
            _truth(evaluation, head, index),
            _answers({model: values[row] for model, values in outputs.items()}, head.labels, chooses),
            html("") if images is None else _picture(images, evaluation.outputs.names[index], spec),
        )
        for row, index in enumerate(chosen)
    ]
    moved = "whose probabilities moved" if chooses else "whose values moved"
    note = f"The {len(cards)} images {moved} furthest, the furthest first." if len(cards) > 1 else ""
    if images is None:
        note += " Their pixels are left out: edgefer evaluate --with-images shows them."
    return section(
        "Images that changed most",
        html("<p>{note}</p>", note=note),
        html('<ol class="cards">\n{cards}\n</ol>', cards=join(cards)),
    )


def _card(name: str, truth: str, answers: Html, picture: Html) -> Html:
    return html(
        "<li>{picture}<div><h3>{name}</h3>{truth}{answers}</div></li>",
        picture=picture,
        name=name,
        truth=html('<p class="truth">labelled {truth}</p>', truth=truth) if truth else "",
        answers=answers,
    )


def _truth(evaluation: Evaluation, head: HeadEvaluation, index: int) -> str:
    known = evaluation.labels is not None and evaluation.labels[index] >= 0
    return head.labels[evaluation.labels[index]] if known and evaluation.labels is not None else ""


def _answers(values: dict[str, Floats], labels: Sequence[str], chooses: bool) -> Html:
    """What each model says: its class, or the value that moved furthest; other answers than fp32's stand out."""
    reference = values[REFERENCE]
    moved = max(range(len(labels)), key=lambda column: max(abs(v[column] - reference[column]) for v in values.values()))
    rows = []
    for model, value in values.items():
        column = int(value.argmax()) if chooses else moved
        flipped = chooses and column != int(reference.argmax())
        number = f"{100 * value[column]:.0f}\N{NO-BREAK SPACE}%" if chooses else signed(float(value[column]), 3)
        rows.append(
            html(
                '<div><dt>{model}</dt><dd>{answer} <span class="p">{number}</span></dd></div>',
                model=NAMES.get(model, model).removesuffix(" int8"),
                answer=html("<strong>{label}</strong>", label=labels[column]) if flipped else labels[column],
                number=number,
            )
        )
    return html("<dl>{rows}</dl>", rows=join(rows))


def _picture(images: ImageSet, name: str, spec: InputSpec) -> Html:
    try:
        pixels = images.reader(name)
    except InputError:
        return html('<p class="truth">not readable any more</p>')
    if max(pixels.shape[:2]) > max(spec.size):
        pixels = to_pixels(pixels, spec)
    height, width = pixels.shape[:2]
    return html(
        '<img alt="" width="{width}" height="{height}" src="data:image/png;base64,{data}">',
        width=round(72 * width / max(height, width)),
        height=round(72 * height / max(height, width)),
        data=_png(pixels),
    )


def _png(pixels: Image) -> str:
    from base64 import b64encode

    import cv2

    gray = (pixels == pixels[:, :, :1]).all()
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, 0] if gray else pixels[:, :, ::-1]))
    return b64encode(data.tobytes()).decode()
