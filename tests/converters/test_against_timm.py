"""Needs torch and timm; everything else about checkpoints is tested without them."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from benchmarks.architectures import BOUND, SIZE, difference, import_timm, seeded  # noqa: E402
from edgefer.conversion.trial import Proof, prove, sample  # noqa: E402
from edgefer.errors import InputError  # noqa: E402
from edgefer.graph.contract import apply_contract  # noqa: E402
from edgefer.graph.ir import Array, Graph  # noqa: E402
from edgefer.graph.passes import normalise  # noqa: E402
from edgefer.host.progress import SILENT  # noqa: E402
from edgefer.networks.families import load_network  # noqa: E402
from edgefer.networks.network import Network  # noqa: E402
from edgefer.runtime.apart import Apart  # noqa: E402
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


@pytest.mark.parametrize(
    ("arch", "dynamo", "folded", "tolerance"),
    [
        ("tinynet_e", True, True, 0),
        ("tf_efficientnet_lite0", True, True, 0),
        ("tinynet_e", False, False, 0),
        ("tf_efficientnet_lite0", False, True, 1e-6),
    ],
)
def test_an_export_by_pytorch_and_the_checkpoint_become_the_same_graph(
    tmp_path: Path, arch: str, dynamo: bool, folded: bool, tolerance: float
) -> None:
    """To the last bit, but where the older exporter folds batch norms: MKL's square root is a bit off at times."""
    pytest.importorskip("onnxscript", reason="needs onnxscript", exc_type=ImportError)
    model = seeded(arch)
    torch.save(model.state_dict(), tmp_path / "x.pt")
    image = torch.zeros(1, 3, *SIZE)
    options: dict[str, Any] = {"verbose": False}
    if not dynamo:
        mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
        options = {"opset_version": 11, "training": mode}
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


TORCHVISION = """
import sys
from benchmarks.architectures import stand_ins
sys.modules.update(stand_ins())
"""
"""What timm imports of it, of no use."""


def test_a_checkpoint_is_proved_against_timm_where_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("torchvision") is None:
        (tmp_path / "site" / "torchvision").mkdir(parents=True)
        (tmp_path / "site" / "torchvision" / "__init__.py").write_text(TORCHVISION)
        monkeypatch.syspath_prepend(tmp_path / "site")
    torch.save(seeded("tinynet_e").state_dict(), tmp_path / "x.pt")
    network = load_network(
        tmp_path / "x.pt", arch="tinynet_e", spec={**SPEC, "input": {**SPEC["input"], "size": [*SIZE]}}
    )
    images = sample(None, network.spec.input)

    def proved(network: Network) -> Proof:
        return prove(network, apply_contract(normalise(network.graph), network.spec), images, apart, SILENT)

    with Apart() as apart:
        told = proved(network).to_dict()
        assert told["twin"]["arch"] == "tinynet_e"
        assert told["against"] == "graph"
        assert told["images"] == len(images)
        assert max(told["twin"]["difference"], *told["differences"].values()) <= BOUND
        assert network.twin is not None
        renamed = replace(network.twin, arch="tf_efficientnet_b0")
        assert proved(replace(network, twin=renamed)).twin is None  # its tensors are not of that
        turned = {"conv_head.weight": network.graph.constants["conv_head.weight"][::-1]}
        with pytest.raises(InputError, match=r"x\.pt: .* features are off by .* from those of timm's tinynet_e"):
            proved(replace(network, graph=network.graph.with_constants(turned)))


def constants(graph: Graph) -> list[Array]:
    return [graph.constants[name] for node in graph.nodes for name in node.inputs if name in graph.constants]
