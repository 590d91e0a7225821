"""PyTorch in another process: what it says there is what it says here, and it ends with its module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefer.errors import InputError, RefusedError, UsageError
from edgefer.host.resources import bundled_directory
from edgefer.networks.exported import network_of
from edgefer.networks.families import load_network
from edgefer.networks.network import Source
from edgefer.networks.torch_apart import FilledApart
from tests.converters.checkpoints import SPEC

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from benchmarks.published_networks import PUBLISHED, seeded  # noqa: E402

FAMILY = bundled_directory("converters") / "mobilefacenet.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("apart") / "x.pt"
    torch.save(seeded(PUBLISHED["hsemotion_mobilefacenet"]).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def apart(checkpoint: Path) -> Iterator[FilledApart]:
    yield FilledApart(Source(checkpoint), FAMILY)


def test_a_module_apart_is_the_network_that_it_is_here(checkpoint: Path, apart: FilledApart) -> None:
    here, there = load_network(checkpoint), network_of(apart, Source(checkpoint), "mobilefacenet")
    assert (there.graph.nodes, there.spec, there.notes) == (here.graph.nodes, here.spec, here.notes)
    for name, array in here.graph.constants.items():
        np.testing.assert_array_equal(there.graph.constants[name], array)
    assert here.original is not None and there.original is not None
    image = np.full((*here.spec.input.size, 3), 100, np.uint8)
    answers = [original.answer(original.feed(image)) for original in (here.original, there.original) if original.answer]
    np.testing.assert_equal(answers[1], answers[0])


def test_errors_cross_as_they_are(checkpoint: Path, apart: FilledApart, tmp_path: Path) -> None:
    state = torch.load(checkpoint)
    del state["conv_sep.layers.2.weight"]
    torch.save(state, tmp_path / "x.pt")
    said = []
    for read in (lambda source: FilledApart(source, FAMILY), lambda source: load_network(source.path)):
        with pytest.raises(InputError, match=r"conv_sep\.layers\.2\.weight") as caught:
            read(Source(tmp_path / "x.pt"))
        said.append((type(caught.value), str(caught.value), caught.value.detail))
    assert said[0] == said[1]
    with pytest.raises(KeyError, match="no such exporter"):
        apart.write("no such exporter", tmp_path / "x.onnx")


def test_without_torch_the_extra_is_named(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="PyTorch, which is not installed") as caught:
        FilledApart(Source(checkpoint), FAMILY)
    assert "edgefer[torch]" in caught.value.remedy


def test_a_process_that_ends_is_told(tmp_path: Path) -> None:
    family = tmp_path / "mine.py"
    family.write_text(
        f"import os\ndef load(source):\n    print('mine')\n    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    with pytest.raises(RefusedError, match=r"PyTorch ended its process \(signal 9\) when it was to fill the module"):
        FilledApart(Source(tmp_path / "x.pt", spec=SPEC), family)


def test_the_process_ends_with_its_module(checkpoint: Path) -> None:
    before = _children()
    network = network_of(FilledApart(Source(checkpoint), FAMILY), Source(checkpoint), "mobilefacenet")
    (child,) = _children() - before
    assert network.original is not None and network.original.model.is_file()
    model = network.original.model
    del network
    assert child not in _children() and not model.exists()


def test_pytorch_is_not_loaded_where_it_converts(checkpoint: Path) -> None:
    script = (
        "import sys; from edgefer.networks.families import load_network; n = load_network(sys.argv[1]);"
        "image = n.original.feed(__import__('numpy').zeros((112, 112, 3), 'uint8'));"
        "assert n.original.answer(image) and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(checkpoint)], check=True)


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}
