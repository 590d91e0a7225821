"""What PyTorch's two exporters write, and the small networks of others' bug reports, compute what their files compute.

`benchmarks/exports.py` does the same for whole networks.
"""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.onnx_import import read_onnx
from tests.emit.harness import run_model
from tests.onnx_import.models import images

CASES = Path(__file__).parents[3] / "shared" / "cases"
SHAPE = (1, 3, 16, 16)

WAYS = {
    "TorchScript, opset 11": {"dynamo": False, "opset_version": 11},
    "TorchScript, opset 11, dynamic batch": {"dynamo": False, "opset_version": 11, "dynamic_axes": {"x": {0: "n"}}},
    "TorchScript, opset 17, dynamic batch": {"dynamo": False, "opset_version": 17, "dynamic_axes": {"x": {0: "n"}}},
    "default": {"verbose": False, "external_data": False},
}


def assert_reads_what_the_file_computes(path, rtol=1e-4):
    graph = normalise(read_onnx(path, SHAPE).graph)
    feeds = {graph.inputs[0]: images(graph.shape(graph.inputs[0]))["x"]}
    expected, found = run_model(onnx.load(path), feeds), run_model(to_onnx(graph), feeds)
    for name, answer in expected.items():
        np.testing.assert_allclose(found[name], answer, 0, rtol * np.abs(answer).max())
    return graph


@pytest.mark.parametrize("way", WAYS)
def test_computed_pads_shuffles_attention_and_grids(tmp_path, way):
    torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
    if way == "default":
        pytest.importorskip("onnxscript", reason="needs onnxscript", exc_type=ImportError)
    nn, functional = torch.nn, torch.nn.functional

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 2)
            self.norm = nn.GroupNorm(2, 8)
            self.qkv = nn.Linear(8, 24)

        def forward(self, x):
            missing = [(-(-side // 2) - 1) * 2 + 3 - side for side in x.shape[2:]]  # TensorFlow's "same" padding
            x = functional.pad(x, [0, missing[1], 0, missing[0]])
            x = functional.gelu(self.norm(self.stem(x)))
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            x = functional.interpolate(x, size=(h // 2, w // 2), mode="bilinear", align_corners=False)
            q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
            seen = (q @ k.transpose(1, 2) + torch.zeros(q.shape[1], q.shape[1])).softmax(-1) @ v
            return seen.mean(1) * torch.ones_like(seen[:, 0])

    torch.manual_seed(0)
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Network().eval(), (torch.randn(SHAPE),), str(path), input_names=["x"], **WAYS[way])
    graph = assert_reads_what_the_file_computes(path)
    assert not {"Shape", "ConstantOfShape", "Gather", "Cast"} & {node.op for node in graph.nodes}


@pytest.mark.parametrize("case", ["folded_pads", "opset20_gelu", "opset20_gridsample", "expand", "layernorm_erf"])
@pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
def test_networks_of_bug_reports(tmp_path, case):
    subprocess.run([sys.executable, CASES / f"{case}.py", tmp_path], check=True, capture_output=True)
    assert_reads_what_the_file_computes(tmp_path / f"{case}.onnx")
