"""Families that are torch modules: seeded checkpoints under the published names, against PyTorch's own answer."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefer.cli.main import main
from edgefer.conversion.trial import prove, sample
from edgefer.emit.tflite import emit_tflite
from edgefer.errors import InputError, UsageError
from edgefer.graph.contract import apply_contract
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.host.progress import Silent
from edgefer.host.resources import bundled_directory
from edgefer.networks.families import load_network
from edgefer.plan import Plan
from edgefer.runtime.apart import Apart
from edgefer.runtime.runners import onnx_session, open_runner
from tests.checkpoint.torch_files import Call, Stored, save
from tests.converters.checkpoints import SPEC, run

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from benchmarks.published_networks import PUBLISHED, parameters, seeded  # noqa: E402
from converters import dan  # noqa: E402

TOLERANCE = 1e-4


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


MINE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 7)

    def forward(self, x):
        x = self.norm(self.conv(x)).mean((2, 3))
        return RETURNED

def load(source):
    return Net()
"""


LEFT_OUT = {
    "eac": "left out: the attention map that EAC returns",
    "dan": "left out: the features and the heads that DAN returns",
    "dacl": "attention.* (18 tensors), which weigh the loss in training",
    "arm": "ARM adds the mean over its batch",
}
"""What a user is told of networks that are not the same in training."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layout_is_recognised_and_computes_what_pytorch_does(tmp_path: Path, name: str) -> None:
    published = PUBLISHED[name]
    module = seeded(published)
    torch.save(published.content(module.state_dict()), tmp_path / "x.pt")
    network = load_network(tmp_path / "x.pt", spec=published.stated, arch=published.arch)
    assert network.family == published.family
    stated = any(f"as family {published.family} states it: " in note for note in network.notes)
    assert stated != ({"input", "outputs"} == {*published.stated})
    for other, told in LEFT_OUT.items():
        assert (name == other) == any(told in note for note in network.notes)
    assert_computes(network, module)


def test_parameters_are_as_many_as_are_published() -> None:
    assert parameters(seeded(PUBLISHED["hsemotion_mobilefacenet"])) == 2_064_650  # 2,054,282 with folded norms
    assert parameters(seeded(PUBLISHED["dan"])) == pytest.approx(19.72e6, rel=1e-3)
    assert parameters(seeded(PUBLISHED["psr_ferplus"])) == pytest.approx(20.24e6, rel=1e-3)
    identities = 8631 * (512 + 1)
    assert parameters(seeded(PUBLISHED["facenet"])) + identities == 27_910_327


def test_mobilevit_is_what_timm_builds(tmp_path: Path) -> None:
    from benchmarks.architectures import import_timm

    try:
        import_timm()
    except ImportError:
        pytest.skip("needs timm")
    torch.manual_seed(0)
    module = import_timm().create_model("mobilevitv2_050", num_classes=10).eval()
    torch.save(module, tmp_path / "x.pt")
    network = load_network(tmp_path / "x.pt")
    assert network.family == "mobilevit"
    assert [output.name for output in network.spec.outputs] == ["expression", "valence_arousal"]
    assert_computes(network, module)


def assert_computes(network: Any, module: Any) -> None:
    assert network.original is not None and network.original.answer is not None
    for image in sample(None, network.spec.input)[:1]:
        planes = network.original.feed(image)["image"]
        with torch.no_grad():
            returned = module(torch.from_numpy(planes))
        expected = (returned[0] if isinstance(returned, tuple) else returned).numpy()
        answer = network.original.answer(network.original.feed(image))
        np.testing.assert_array_equal(answer[network.graph.outputs[0]], expected)
        found = run(network.graph, planes)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())
        heads = tuple(replace(head, activation="none") for head in network.spec.outputs)
        spec = replace(network.spec, outputs=heads)
        graph = apply_contract(normalise(network.graph), spec)
        for format, model in (
            ("tflite", emit_tflite(graph, Plan())),
            ("onnx", to_onnx(graph).SerializeToString()),
        ):
            answers = open_runner(model, format)(image)
            for head in heads:
                np.testing.assert_allclose(
                    answers[head.name],
                    expected[0, slice(*(head.columns or (None,)))],
                    atol=TOLERANCE * np.abs(expected).max(),
                    err_msg=format,
                )


@pytest.fixture
def mobilefacenet(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    return tmp_path / "x.pt", dict(seeded(PUBLISHED["hsemotion_mobilefacenet"]).state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("layers.4.layers.1.layers.1.running_mean"),
            "tensor layers.4.*running_mean is missing",
        ),
        (
            lambda state: state.update({"extra.weight": torch.ones(2)}),
            "tensor extra.weight has no place in mobilefacenet",
        ),
        (
            lambda state: state.update({"conv_sep.layers.2.weight": torch.ones(1)}),
            r"tensor conv_sep.layers.2.weight has shape \[1\] instead of \[512\]",
        ),
        (
            lambda state: state.update({"conv_sep.layers.2.weight": torch.full((512,), torch.nan)}),
            "conv_sep.layers.2.weight holds values that are not finite",
        ),
    ],
)
def test_tensors_of_another_network_are_named(
    mobilefacenet: tuple[Path, dict[str, Any]], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path, state = mobilefacenet
    change(state)
    torch.save(state, path)
    with pytest.raises(InputError, match=message) as caught:
        load_network(path)
    assert str(path) in caught.value.message and caught.value.exit_code == 3


def test_a_checkpoint_that_wants_to_run_something_is_refused_whatever_its_family(
    mobilefacenet: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, state = mobilefacenet
    content = {name: Stored(tensor.numpy()) for name, tensor in state.items() if tensor.ndim}
    done = path.with_name("done")
    save(path, {**content, "hook": Call("os.system", (f"touch {done}",))})
    for options in ([], ["--family", "mobilefacenet"]):
        with pytest.raises(SystemExit) as end:
            main(["convert", str(path), *options])
        assert end.value.code == 3
        assert "os.system" in capsys.readouterr().err
    assert not done.exists()


def test_a_pickled_module_of_another_geometry_is_refused(tmp_path: Path) -> None:
    module = seeded(PUBLISHED["hsemotion_mobilefacenet"])
    module.layers[0].layers[0].stride = (1, 1)
    module.__class__.__module__ = "mobilefacenet"
    torch.save(module.layers[0].layers, tmp_path / "stem.pt")
    family = tmp_path / "stem.py"
    family.write_text(
        "from torch import nn\n\ndef load(source):\n"
        "    return nn.Sequential(nn.Conv2d(3, 128, 3, 2, 1, bias=False), nn.BatchNorm2d(128), nn.PReLU(128))\n"
    )
    with pytest.raises(InputError, match="module 0 has stride 1, where the family has 2"):
        load_network(tmp_path / "stem.pt", family=family, spec=SPEC)


def test_seven_classes_of_dan_are_of_two_published_orders_and_must_be_stated(tmp_path: Path) -> None:
    state = seeded(replace(PUBLISHED["dan"], build=lambda: dan.build(1, 7))).state_dict()
    torch.save({"model_state_dict": state}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="may be AffectNet's or RAF-DB's") as caught:
        load_network(tmp_path / "x.pt")
    assert all(f"labels = {order}" in caught.value.remedy for order in (dan.AFFECTNET_8[:-1], dan.RAF_DB))
    head = {"name": "expression", "kind": "expression", "activation": "softmax", "labels": dan.RAF_DB}
    network = load_network(tmp_path / "x.pt", spec={"outputs": [head]})
    assert network.spec.outputs[0].labels == tuple(dan.RAF_DB) and network.spec.input.crop is None


def test_which_resnet50_it_is_must_be_stated(tmp_path: Path) -> None:
    published = PUBLISHED["eac"]
    torch.save(seeded(published).state_dict(), tmp_path / "x.pt")
    with pytest.raises(InputError, match="do not show which ResNet-50") as caught:
        load_network(tmp_path / "x.pt")
    assert 'arch = "eac_resnet50"' in caught.value.remedy
    with pytest.raises(UsageError, match="its blocks are those of resnet50, eac_resnet50"):
        load_network(tmp_path / "x.pt", arch="resnet18")


def test_without_torch_the_extra_is_named(
    mobilefacenet: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, state = mobilefacenet
    torch.save(state, path)
    family = path.with_name("mine.py")
    family.write_text(MINE.replace("RETURNED", "self.fc(x)"))
    monkeypatch.setitem(sys.modules, "torch", None)
    for chosen in (None, family):
        with pytest.raises(UsageError, match="PyTorch, which is not installed") as caught:
            load_network(path, family=chosen)
        assert "edgefer[torch]" in caught.value.remedy


def test_a_network_that_is_coupled_over_its_batch_is_told_with_what_artifacts_compute(tmp_path: Path) -> None:
    spec = {**SPEC, "outputs": embeddings(["face"])}
    told = []
    for returned in ("self.fc(x)", "self.fc(x) - self.fc(x).mean(0) / 2"):
        network = load_network(own(tmp_path), family=family_returning(tmp_path, returned), spec=spec)
        graph = apply_contract(normalise(network.graph), network.spec)
        notes = Notes()
        with Apart() as apart:
            prove(network, graph, sample(None, network.spec.input), apart, notes)
        told.append(notes.notes)
    assert told[0] == []
    (note,) = told[1]
    assert "where other images are in its batch" in note and "taken over that image" in note


# --- a user's own ---------------------------------------------------------------------------------------------


def readme_example(folder: Path) -> Path:
    text = (bundled_directory("converters") / "README.md").read_text("utf-8")
    family = folder / "my_net.py"
    family.write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    return family


def test_the_example_that_the_readme_opens_with_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family = readme_example(tmp_path)
    space: dict[str, Any] = {}
    exec(family.read_text(), space)  # as its user trained it, in a module that edgefer does not see
    torch.manual_seed(0)
    torch.save({"state_dict": space["MyNet"]().state_dict()}, tmp_path / "weights.pt")
    blocks = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "faces.npz", images=np.kron(blocks, np.ones((1, 8, 8, 1), np.uint8)))
    command = ["convert", str(tmp_path / "weights.pt"), "--family", str(family), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([*command, "--calibration", str(tmp_path / "faces.npz"), "--json", str(tmp_path / "out.json")])
    assert end.value.code == 0, capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["source"]["family"] == "my_net"
    assert {artifact["format"] for artifact in manifest["artifacts"]} == {"onnx", "tflite"}


@pytest.mark.parametrize(
    ("returned", "outputs"), [("(self.fc(x), x)", ["output0", "output1"]), ("{'a': self.fc(x), 'b': x}", ["a", "b"])]
)
def test_a_module_may_return_several_heads(tmp_path: Path, returned: str, outputs: list[str]) -> None:
    network = load_network(
        own(tmp_path), family=family_returning(tmp_path, returned), spec={**SPEC, "outputs": embeddings(outputs)}
    )
    assert list(network.graph.outputs) == outputs
    assert [network.graph.shape(name) for name in outputs] == [(1, 7), (1, 4)]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ("[x, 3]", UsageError, "returns list of other things than tensors"),
        ("self.fc(x[:, :3])", InputError, r"the module fails on an image of \[1, 3, 64, 64\]"),
        ("torch.linalg.eigvals(x.T @ x).real[None]", InputError, "neither of PyTorch's exporters can write the module"),
    ],
)
def test_a_module_that_cannot_be_exported_is_told(
    tmp_path: Path, returned: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_network(own(tmp_path), family=family_returning(tmp_path, returned), spec=SPEC)


def test_what_the_tracing_exporter_cannot_write_the_other_one_may(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript", exc_type=ImportError)
    returned = "self.fc(nn.functional.adaptive_avg_pool2d(x[..., None, None].expand(-1, -1, 5, 5), 3).amax((2, 3)))"
    network = load_network(own(tmp_path), family=family_returning(tmp_path, returned), spec=SPEC)
    assert network.graph.shape(network.graph.outputs[0]) == (1, 7)


RECURRENT = """
from torch import nn

class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 2)

    def forward(self, x, h, c):
        hidden, cell = self.cell(x.mean((2, 3)), (h, c))
        return {"expression": hidden, "hn": hidden, "cn": cell}

def load(source):
    return Step()
"""


def recurrent(folder: Path, states: list[tuple[str, str]]) -> Any:
    """An LSTM cell whose states are fed and returned by these names, in this order."""
    (folder / "step.py").write_text(RECURRENT)
    torch.manual_seed(0)
    torch.save(torch.nn.LSTMCell(3, 2).state_dict(prefix="cell."), folder / "step.pt")
    spec = {
        "input": {"size": [4, 4], "mean": [0.5] * 3, "std": [0.5] * 3},
        "outputs": embeddings(["expression"]),
        "states": [{"name": put, "input": taken, "output": put, "shape": [1, 2]} for taken, put in states],
    }
    return load_network(folder / "step.pt", family=folder / "step.py", spec=spec)


@pytest.mark.parametrize("states", [[("h", "hn"), ("c", "cn")], [("c", "cn"), ("h", "hn")]])
def test_states_go_to_the_arguments_that_are_called_so(tmp_path: Path, states: list[tuple[str, str]]) -> None:
    network = recurrent(tmp_path, states)
    cell = torch.nn.LSTMCell(3, 2)
    cell.load_state_dict({name[5:]: value for name, value in torch.load(tmp_path / "step.pt").items()})
    fed = {"image": torch.randn(1, 3, 4, 4), "h": torch.randn(1, 2), "c": torch.randn(1, 2)}
    with torch.no_grad():
        hidden, after = cell(fed["image"].mean((2, 3)), (fed["h"], fed["c"]))
    session = onnx_session(to_onnx(network.graph))
    found = session.run(["hn", "cn"], {name: value.numpy() for name, value in fed.items()})
    for answer, expected in zip(found, (hidden, after), strict=True):
        np.testing.assert_allclose(answer, expected.numpy(), atol=1e-6)


def test_a_state_that_no_argument_takes_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"state hn is to go to hx, which .* does not take: after the image .* h, c"):
        recurrent(tmp_path, [("hx", "hn"), ("c", "cn")])


def own(folder: Path) -> Path:
    tensors = {"conv.weight": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4)}
    tensors |= {"norm.weight": torch.rand(4), "norm.bias": torch.rand(4), "norm.running_mean": torch.rand(4)}
    tensors |= {"norm.running_var": torch.rand(4), "fc.weight": torch.randn(7, 4), "fc.bias": torch.randn(7)}
    torch.save({"model": {f"module.{name}": tensor for name, tensor in tensors.items()}}, folder / "x.pt")
    return folder / "x.pt"


def family_returning(folder: Path, returned: str) -> Path:
    (folder / "mine.py").write_text("import torch\n" + MINE.replace("RETURNED", returned))
    return folder / "mine.py"


def embeddings(names: list[str]) -> list[dict[str, str]]:
    return [{"name": name, "kind": "embedding"} for name in names]
