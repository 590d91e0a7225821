"""Checkpoints of every family that are hostile, or not quite its own; and networks that are pickled whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefer.errors import InputError
from edgefer.networks.families import load_network
from tests.checkpoint.torch_files import Stored, save
from tests.checkpoint.torch_files import module as recorded

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)

from benchmarks.published_networks import PUBLISHED  # noqa: E402

State = dict[str, Any]


@pytest.fixture(autouse=True)
def _uninitialised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are filled with a checkpoint's tensors anyway."""
    for name in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


def state_of(name: str) -> State:
    """A state dict in the published layout, of zeros that share their memory."""
    with torch.device("meta"):
        state = PUBLISHED[name].build().state_dict()
    zeros = torch.zeros(max(value.numel() for value in state.values()))
    return {
        key: zeros[: value.numel()].view(value.shape) if value.is_floating_point() else torch.tensor(0)
        for key, value in state.items()
    }


def longest(state: State) -> str:
    """A weight deep within the network."""
    return max((key for key in state if key.endswith("weight")), key=lambda key: (key.count("."), key))


class Hostile:
    """Pickles to a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.witness}",)


def _run(state: State, witness: Path) -> None:
    state["hook"] = Hostile(witness)


def _one_more(state: State, _: Path) -> None:
    state["another.weight"] = torch.zeros(3)


def _one_less(state: State, _: Path) -> None:
    del state[longest(state)]


def _of_another_shape(state: State, _: Path) -> None:
    state[longest(state)] = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_run, r"wants to call posix\.system"),
        (_one_more, r"tensor another\.weight has no place in"),
        (_one_less, r"tensor .*weight is missing"),
        (_of_another_shape, r"tensor .*weight has shape \[5, 2\] instead of"),
    ],
)
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_what_is_not_quite_a_family_s_checkpoint_is_refused(
    tmp_path: Path, name: str, change: Callable[[State, Path], None], message: str
) -> None:
    published, state, witness = PUBLISHED[name], state_of(name), tmp_path / "ran"
    change(state, witness)
    torch.save(published.content(state), tmp_path / "x.pt")
    for family in (None, published.family):
        with pytest.raises(InputError, match=message) as caught:
            load_network(tmp_path / "x.pt", spec=published.stated, arch=published.arch, family=family)
        assert caught.value.exit_code == 3
        assert str(tmp_path / "x.pt") in caught.value.message
    assert not witness.exists()


def whole(module: Any, kind: str) -> Any:
    """As `torch.save(model)` writes it, of a class that only its authors have."""
    children = {
        name: whole(
            child, f"{type(child).__module__}.{type(child).__qualname__}" if _of_torch(child) else "model.Block"
        )
        for name, child in module.named_children()
    }
    tensors = {name: _stored(each) for name, each in module.named_parameters(recurse=False)}
    buffers = {name: _stored(each) for name, each in module.named_buffers(recurse=False)}
    own = {key: value for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)}
    made = recorded(kind, tensors, children, **own)
    made.state["_buffers"] = buffers
    return made


def _of_torch(module: Any) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _stored(tensor: Any) -> Stored:
    return Stored(tensor.detach().numpy())


@pytest.mark.parametrize("wrapped", ["alone", "in a dict", "in parallel"])
@pytest.mark.parametrize(("name", "kind"), [("dan", "networks.dan.DAN"), ("eac", "model.Model"), ("arm", "ARM.ResNet")])
def test_a_network_that_is_pickled_whole_is_read(tmp_path: Path, name: str, kind: str, wrapped: str) -> None:
    published = PUBLISHED[name]
    module = published.build()
    for parameter in module.parameters():
        parameter.data.zero_()
    model = whole(module, kind)
    if wrapped == "in parallel":
        model = recorded("torch.nn.parallel.data_parallel.DataParallel", children={"module": model})
    save(tmp_path / "x.pt", {"epoch": 3, "model": model} if wrapped == "in a dict" else model)
    network = load_network(tmp_path / "x.pt", spec=published.stated, arch=published.arch)
    assert network.family == published.family
