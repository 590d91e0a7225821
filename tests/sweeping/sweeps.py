"""Requests to sweep over small networks."""

import numpy as np
import onnx
from onnx import numpy_helper

from tests.evaluation.tiny import EXPRESSIONS, faces, network

SPEC = """
[input]
size = [16, 16]
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
[[outputs]]
name = "expression"
kind = "expression"
activation = "softmax"
labels = ["angry", "happy", "neutral", "sad"]
columns = [0, 4]
"""


def write_sweep(folder, devices=(), networks=3, options=4, settings=""):
    """Networks whose classifiers differ, and so many combinations of options."""
    for index in range(networks):
        model = network()
        (weight,) = (each for each in model.graph.initializer if each.name == "w4")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1 + index), "w4"))
        onnx.save(model, folder / f"net{index}.onnx")
        (folder / f"net{index}.spec.toml").write_text(SPEC)
    np.savez(folder / "calibration.npz", images=faces(40, seed=9))
    np.savez(folder / "few.npz", images=faces(20, seed=8))
    np.savez(folder / "faces.npz", images=faces(60), labels=np.arange(60) % 4, label_names=np.array(EXPRESSIONS))
    models = "".join(f'[[networks]]\nmodel = "net{index}.onnx"\n' for index in range(networks))
    calibration = '["calibration.npz"]' if options == 1 else '["calibration.npz", "few.npz"]'
    mixed = "[false, true]" if options == 4 else "[false]"
    text = (
        f"{models}[options]\ncalibration = {calibration}\nmixed = {mixed}\n"
        f'[evaluations]\nfaces = "faces.npz"\n'
        f"[devices]\nnames = [{', '.join(map(repr, devices))}]\nframes = 4\nseconds = 0.0\n{settings}"
    )
    (folder / "sweep.toml").write_text(text.replace("'", '"'))
    return folder / "sweep.toml"
