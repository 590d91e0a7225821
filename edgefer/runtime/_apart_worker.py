"""The other process of `edgefer.runtime.apart`: runs models until nobody asks any more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from edgefer.errors import RefusedError
from edgefer.runtime.apart import NAMES, Array, in_turn, packed, receive, send, unpacked
from edgefer.runtime.refusals import refusal
from edgefer.runtime.runners import as_stored, onnx_session, tflite_interpreter


class Run(Protocol):
    """What an engine has opened."""

    def __call__(self, feeds: Mapping[str, Array], values: Sequence[str] | None) -> dict[str, Array]:
        """The `values`, all outputs if None, for inputs by name."""
        ...


def main() -> None:
    """Answer questions from standard input; what libraries print does not get among the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import onnxruntime  # noqa: F401  while nothing is asked yet

    while (question := receive(sys.stdin.buffer)) is not None:
        head, feeds = unpacked(question)
        run = None  # of the question before, as large as its model
        try:
            run = _ENGINES[head["engine"]](Path(head["path"]))
            send(answers, packed({"step": "run"}, []))
            found = in_turn(partial(run, values=head["values"]), feeds, head["carried"])
            send(answers, packed({}, found))
        except Exception as error:  # whatever a runtime throws
            told = error if isinstance(error, RefusedError) else refusal(NAMES[head["engine"]], "run", str(error))
            send(answers, packed({"refused": told.message, "remedy": told.remedy, "detail": told.detail}, []))


def _onnx(model: Path, *, optimise: bool = True) -> Run:
    session = onnx_session(model, optimise=optimise)

    def run(feeds: Mapping[str, Array], values: Sequence[str] | None) -> dict[str, Array]:
        names = session.outputs if values is None else values
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


def _tflite(model: Path) -> Run:
    interpreter = tflite_interpreter(model)
    outputs = interpreter.get_signature_runner().get_output_details()

    def run(feeds: Mapping[str, Array], values: Sequence[str] | None) -> dict[str, Array]:
        for details, array in zip(interpreter.get_input_details(), feeds.values(), strict=True):
            interpreter.set_tensor(details["index"], as_stored(array, details))
        interpreter.invoke()
        wanted = outputs if values is None else values
        return {name: interpreter.get_tensor(outputs[name]["index"]) for name in wanted}

    return run


def _reference(model: Path) -> Run:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(model))

    def run(feeds: Mapping[str, Array], values: Sequence[str] | None) -> dict[str, Array]:
        names = list(evaluator.output_names if values is None else values)
        return dict(zip(names, map(np.asarray, evaluator.run(names, dict(feeds))), strict=True))

    return run


def _timm(model: Path) -> Run:
    import timm
    import torch

    head, (weights,) = unpacked(model.read_bytes())
    network = timm.create_model(head["arch"], num_classes=0).eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def run(feeds: Mapping[str, Array], values: Sequence[str] | None) -> dict[str, Array]:
        (image,) = feeds.values()
        with torch.inference_mode():
            return {"features": network(torch.from_numpy(image)).numpy()}

    return run


_ENGINES: Mapping[str, Callable[[Path], Run]] = {
    "onnx": _onnx,
    "unoptimised": partial(_onnx, optimise=False),
    "tflite": _tflite,
    "reference": _reference,
    "timm": _timm,
}
