"""EfficientNets as timm builds them, with seeded weights, and larger than what a budget allows."""

import numpy as np
import pytest

from edgefer.bundle import Bundle
from edgefer.cli.main import main
from edgefer.quantize import evened
from tests.checkpoint.torch_files import save
from tests.converters.checkpoints import stored
from tests.networks.timm_weights import seeded_efficientnet

SPEC = """
[input]
size = [96, 96]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]

[[outputs]]
name = "class"
kind = "classes"
activation = "softmax"
labels = [{labels}]
"""


@pytest.fixture
def faces(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "faces.npz", images=np.kron(images, np.ones((1, 16, 16, 1), np.uint8)))
    return tmp_path / "faces.npz"


def run(tmp_path, faces, arch, *options):
    labels = ", ".join(f'"{label}"' for label in range(1000))
    save(tmp_path / f"{arch}.pt", stored(seeded_efficientnet(arch.removeprefix("tf_efficientnet_"))))
    (tmp_path / f"{arch}.spec.toml").write_text(f'arch = "{arch}"\n{SPEC.format(labels=labels)}')
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        main(["convert", str(tmp_path / f"{arch}.pt"), "--calibration", str(faces), "-o", str(out), *options])
    return end.value.code, Bundle.open(out)


def test_tf_efficientnet_b0_converts(tmp_path, faces, capsys):
    code, bundle = run(tmp_path, faces, "tf_efficientnet_b0")
    assert code == 0
    assert bundle.manifest["quantization"]["parameters"] == pytest.approx(5.29e6, rel=0.01)
    assert bundle.manifest["quantization"]["silu"] == 49
    assert bundle.manifest["quantization"]["squeeze_excite"] == 16
    assert not bundle.manifest["quantization"]["undelegated"]
    assert "over budget" not in capsys.readouterr().err


@pytest.fixture
def whole(monkeypatch):
    """Channels that hardly matter stay: of random weights nearly all are such."""
    monkeypatch.setattr(evened, "leave_out", lambda channels, *_: channels.graph)


def test_efficientnet_b2_meets_the_budget_with_some_layers_in_four_bits(tmp_path, faces, whole):
    code, bundle = run(tmp_path, faces, "tf_efficientnet_b2")
    assert code == 0
    assert bundle.manifest["quantization"]["parameters"] == pytest.approx(9.1e6, rel=0.01)  # one byte each in int8
    assert all(artifact.bytes <= 8_000_000 for artifact in bundle.artifacts if artifact.precision == "int8")
    full, point = bundle.manifest["solution"]["points"]
    assert full["bytes"] > 8_000_000 and not full["int4"]
    assert point["chosen"] and point["int4"]
    assert point["bytes"] > 7_950_000  # no more layers than it takes
    assert not bundle.manifest["quantization"]["undelegated"]


def test_a_budget_that_four_bits_cannot_keep_is_missed_by_a_distance_told_with_the_bundle_written(
    tmp_path, faces, whole, capsys
):
    code, bundle = run(tmp_path, faces, "tf_efficientnet_b0", "--formats", "onnx", "--budget", "1MB")
    assert code == 1
    (artifact,) = bundle.over_budget
    error = capsys.readouterr().err
    assert f"over budget: {artifact.file} has {artifact.bytes:,} bytes" in error
    assert f"{artifact.bytes - 1_000_000:,} more than the budget of 1,000,000" in error
    assert f"{bundle.manifest['quantization']['parameters'] / 1e6:.2f} M parameters; layers whose kernels" in error
    assert bundle.manifest["solution"]["bytes_over"] == artifact.bytes - 1_000_000
