"""Needs torch and timm; everything else about checkpoints is tested without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from benchmarks.architectures import BOUND, SIZE, difference, import_timm, seeded  # noqa: E402
from edgefer.graph.ir import Array, Graph  # noqa: E402
from edgefer.graph.passes import normalise  # noqa: E402
from edgefer.networks.families import load_network  # noqa: E402
from tests.converters.checkpoints import SPEC  # noqa: E402

try:
    import_timm()
except ImportError:
    pytest.skip("needs timm", allow_module_level=True)

ARCHS = [
    *("efficientnet_b0", "tf_efficientnet_b1", "efficientnet_b1_pruned", "tinynet_e", "tf_efficientnet_lite1"),
    *("efficientnet_es", "tf_efficientnet_em", "tf_efficientnetv2_b0", "efficientnetv2_rw_s", "mobilenetv2_035"),
]
WHOLE = ["efficientnet_b0", "tf_efficientnet_em", "tf_efficientnetv2_b0"]


@pytest.mark.parametrize("arch", ARCHS)
def test_the_graph_read_from_tensors_computes_what_timm_computes(tmp_path: Path, arch: str) -> None:
    model = seeded(arch)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    assert difference(tmp_path / "state.pt", arch, model) <= BOUND


@pytest.mark.parametrize("arch", WHOLE)
def test_the_graph_read_from_a_whole_module_computes_what_timm_computes(tmp_path: Path, arch: str) -> None:
    model = seeded(arch)
    torch.save(model, tmp_path / "module.pt")
    torch.save(model, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("module.pt", "legacy.pt"):
        assert difference(tmp_path / name, "", model) <= BOUND


@pytest.mark.parametrize("arch", ["tinynet_e", "tf_efficientnet_lite0"])
@pytest.mark.parametrize(("dynamo", "tolerance"), [(True, 0), (False, 1e-6)])
def test_an_export_by_pytorch_and_the_checkpoint_become_the_same_graph(
    tmp_path: Path, arch: str, dynamo: bool, tolerance: float
) -> None:
    """To the last bit by the default exporter; the older one's square root with MKL is a last bit off in places."""
    pytest.importorskip("onnxscript", reason="needs onnxscript", exc_type=ImportError)
    model = seeded(arch)
    torch.save(model.state_dict(), tmp_path / "x.pt")
    image = torch.zeros(1, 3, *SIZE)
    options = {"verbose": False} if dynamo else {"opset_version": 11}
    if not dynamo:
        model = import_timm().create_model(arch, num_classes=7, exportable=True).eval()
        model.load_state_dict(torch.load(tmp_path / "x.pt"))
    torch.onnx.export(model, (image,), tmp_path / "x.onnx", dynamo=dynamo, **options)
    spec = {**SPEC, "input": {**SPEC["input"], "size": [*SIZE]}}
    ours, theirs = (
        normalise(load_network(tmp_path / name, arch=stated, spec=spec).graph)
        for name, stated in (("x.pt", arch), ("x.onnx", ""))
    )
    assert [node.op for node in ours.nodes] == [node.op for node in theirs.nodes]
    for left, right in zip(constants(ours), constants(theirs), strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance * np.abs(right).max())


def constants(graph: Graph) -> list[Array]:
    return [graph.constants[name] for node in graph.nodes for name in node.inputs if name in graph.constants]
