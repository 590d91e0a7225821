"""Needs torch and timm; everything else about checkpoints is tested without them."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from benchmarks.architectures import BOUND, difference, import_timm, seeded  # noqa: E402

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
