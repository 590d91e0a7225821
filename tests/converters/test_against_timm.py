"""Needs torch and timm; everything else about checkpoints is tested without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefer.networks.families import load_network
from tests.converters.checkpoints import SPEC, run

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
timm = pytest.importorskip("timm", reason="needs timm", exc_type=ImportError)

ARCHS = [
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_lite0"),
    *("tf_efficientnet_b0", "tf_efficientnet_b1", "tf_efficientnet_b2", "tf_efficientnet_lite0"),
]


@pytest.mark.parametrize("arch", ARCHS)
def test_the_graph_computes_what_timm_computes(tmp_path: Path, arch: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(arch, num_classes=7).train()
    image = torch.randn(4, 3, 75, 64)
    with torch.no_grad():
        model(image)  # batch norms get statistics
        expected = model.eval()(image[:1]).numpy()
    spec = {**SPEC, "input": {**SPEC["input"], "size": [75, 64]}}
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.save(model, tmp_path / "module.pt")
    torch.save(model, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    for name, stated in (("state.pt", arch), ("module.pt", ""), ("legacy.pt", "")):
        network = load_network(tmp_path / name, arch=stated, spec=spec)
        np.testing.assert_allclose(run(network.graph, image[:1].numpy()), expected, atol=1e-4)
