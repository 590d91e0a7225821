from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

from edgefer.checkpoint import read_checkpoint
from edgefer.errors import InputError, UsageError
from edgefer.host.resources import bundled_directory, bundled_networks
from edgefer.networks.families import described_families, families, load_network
from tests.checkpoint.torch_files import Stored, floats, save
from tests.converters.checkpoints import SPEC, run


def test_the_bundled_network_loads_by_name() -> None:
    network = load_network("fer_b0")
    assert (network.name, network.family) == ("fer_b0", "efficientnet")
    assert run(network.graph, floats(1, 3, *network.spec.input.size)).shape == (1, 7)


def test_the_bundled_weights_are_those_of_the_model_card_in_half_precision() -> None:
    path = bundled_networks()["fer_b0"]
    assert f"SHA-256 `{sha256(path.read_bytes()).hexdigest()}`" in path.with_name("README.md").read_text("utf-8")
    bundled = read_checkpoint(path).tensors
    assert bundled["classifier.weight"].shape == (7, 1280)
    for name, tensor in bundled.items():
        assert tensor.dtype == ("float16" if len(tensor.shape) > 1 else "float32"), name


def test_bundled_families_are_listed() -> None:
    known = [
        "arm",
        "cnn_lstm",
        "dacl",
        "dan",
        "efficientnet",
        "emotion_heads",
        "inception_resnet",
        "mobilefacenet",
        "mobilevit",
    ]
    assert families() == (*known, "onnx_file", "psr", "resnet")
    assert [family.name for family in described_families()] == [*families()]
    assert all(family.reads.endswith((".", ":")) for family in described_families())


def test_an_unknown_model_lists_the_bundled_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file, nor is it a bundled network") as caught:
        load_network("fer_b9")
    assert "fer_b0" in caught.value.remedy
    with pytest.raises(InputError, match="is a directory"):
        load_network(tmp_path)


def test_an_unknown_family_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such family") as caught:
        load_network("fer_b0", family="vgg")
    assert "efficientnet, emotion_heads" in caught.value.remedy
    with pytest.raises(UsageError, match="no such file"):
        load_network("fer_b0", family=tmp_path / "mine.py")


def test_a_text_file_named_pt_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_text("these are no weights, just words")
    with pytest.raises(InputError, match=r"weights\.pt: not a checkpoint.*looks like text"):
        load_network(path)


def test_the_converter_of_the_readme_works_as_it_stands(tmp_path: Path) -> None:
    text = (bundled_directory("converters") / "README.md").read_text("utf-8")
    _, code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    family = tmp_path / "my_family.py"
    family.write_text(code)
    weights = {"conv.weight": floats(4, 3, 3, 3), "conv.bias": floats(4), "head.weight": floats(7, 4)}
    weights["head.bias"] = floats(7)
    path = save(tmp_path / "x.pt", {name: Stored(array) for name, array in weights.items()})
    network = load_network(path, family=family, spec=SPEC)
    assert network.family == "my_family"
    assert run(network.graph, floats(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("def recognises(source): ...", UsageError, "does not define load"),
        ("\nimport nowhere_to_be_found", UsageError, r"mine\.py, line 2: .*cannot be loaded: ModuleNotFoundError"),
        ("\n\ndef (", UsageError, r"mine\.py, line 3: .*cannot be loaded: SyntaxError: [^(]*$"),
        (
            "def recognises(source): ...\ndef load(source): return {}['key']",
            InputError,
            r"mine\.py, line 2: failed on .*KeyError",
        ),
        ("def load(source): return 3", InputError, r"mine\.py: failed on .*load\(\) returned int, not a torch"),
    ],
)
def test_a_converter_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception], message: str
) -> None:
    family = tmp_path / "mine.py"
    family.write_text(code)
    with pytest.raises(error, match=message) as caught:
        load_network("fer_b0", family=str(family))
    assert "converters/README.md" in caught.value.remedy
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        load_network("fer_b0", family="mine.py")
