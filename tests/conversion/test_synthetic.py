"""Needs torch, but for the tests of the bundled set."""

from hashlib import sha256

import numpy as np
import pytest

from edgefer.errors import InputError
from edgefer.graph.builder import GraphBuilder
from edgefer.graph.onnx_io import to_onnx
from edgefer.graph.passes import normalise
from edgefer.host.resources import bundled_directory
from edgefer.images import open_images
from edgefer.images.preprocess import normalise as to_tensor
from edgefer.runtime.runners import onnx_session
from edgefer.spec import InputSpec, OutputSpec, Spec

SIZE = (16, 16)
SPEC = Spec(
    InputSpec(SIZE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)),
    (OutputSpec("expression", "expression", ("happy", "sad"), "softmax"),),
)


@pytest.fixture
def synthetic(monkeypatch):
    pytest.importorskip("torch", reason="needs torch", exc_type=ImportError)
    from edgefer.conversion import synthetic

    monkeypatch.setattr(synthetic, "_BATCH_PIXELS", 16 * SIZE[0] * SIZE[1])
    return synthetic


def trained_on(photographs, seed=0, spec=SPEC.input):
    """A network whose batch norm holds the statistics of its convolution over `photographs`."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("tiny")
    channels = len(spec.planes)
    stem = rng.normal(size=(6, channels, 3, 3)).astype(np.float32)
    x = build.conv("stem", build.input("image", (1, channels, *SIZE)), stem)
    session = onnx_session(to_onnx(build.graph(x)))
    values = np.concatenate([session.run(None, {"image": to_tensor(image, spec)})[0] for image in photographs])
    mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3))
    ones, zeros = np.ones(6, np.float32), np.zeros(6, np.float32)
    x = build.silu("act", build.batch_norm("norm", x, ones, zeros, mean, variance, epsilon=1e-5))
    x = build.flatten("flat", build.global_average_pool("pool", x))
    return build.graph(build.linear("head", x, rng.normal(size=(2, 6)).astype(np.float32)))


def photographs(gray, seed=3):
    """Smooth random images."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (32, 4, 4, 1 if gray else 3))
    return np.broadcast_to(coarse.repeat(4, 1).repeat(4, 2), (32, *SIZE, 3)).astype(np.uint8)


@pytest.mark.parametrize("gray", [True, False])
def test_the_images_match_the_batch_norms_better_than_noise_does(synthetic, gray):
    graph = trained_on(photographs(gray))
    objective = synthetic._Objective(graph, SPEC.input)
    noise = np.random.default_rng(0).integers(0, 256, (32, *SIZE, 3)).astype(np.uint8)
    made, noisy = (float(objective(_as_pixels(images))) for images in (synthetic.synthesise(graph, SPEC, 32), noise))
    assert made < 0.05 < noisy


def test_a_network_trained_on_gray_images_is_given_gray_ones(synthetic):
    images = synthetic.synthesise(trained_on(photographs(gray=True)), SPEC, 8)
    assert np.ptp(images, axis=3).max() == 0


def test_a_network_trained_on_colour_is_given_colour(synthetic):
    images = synthetic.synthesise(trained_on(photographs(gray=False)), SPEC, 8)
    assert np.ptp(images, axis=3).mean() > 10


@pytest.mark.parametrize("color", ["BGR", "GRAY"])
def test_images_are_rgb_whatever_channels_the_network_has(synthetic, color):
    channels = slice(1 if color == "GRAY" else 3)
    spec = InputSpec(SIZE, SPEC.input.mean[channels], SPEC.input.std[channels], color)
    reddish = (photographs(gray=False) * [1, 0.85, 0.7]).astype(np.uint8)
    graph = trained_on(reddish, spec=spec)
    images = synthetic.synthesise(graph, Spec(spec, SPEC.outputs), 8)
    objective = synthetic._Objective(graph, spec)
    assert float(objective(_as_pixels(images))) < 0.05
    if color == "BGR":
        assert images[..., 0].mean() > images[..., 2].mean() + 15
    else:
        assert np.ptp(images, axis=3).max() == 0


def test_equal_seeds_give_equal_images_and_others_others(synthetic):
    graph = trained_on(photographs(gray=False))
    first, again, other = (synthetic.synthesise(graph, SPEC, 8, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [1, 33])
def test_progress_advances_once_per_image(synthetic, count):
    done = []
    images = synthetic.synthesise(trained_on(photographs(gray=False)), SPEC, count, advance=lambda: done.append(None))
    assert images.shape == (count, *SIZE, 3)
    assert len(done) == count


def test_the_image_set_holds_the_images(synthetic):
    graph = trained_on(photographs(gray=False))
    images = synthetic.synthetic_images(graph, SPEC, 8, seed=1)
    assert len(images) == len(set(images.digests)) == 8
    np.testing.assert_array_equal(images.read(7), synthetic.synthesise(graph, SPEC, 8, seed=1)[7])


def test_larger_images_need_fewer(synthetic):
    sizes = ((64, 64), (112, 112), (224, 224))
    specs = (Spec(InputSpec(size, SPEC.input.mean, SPEC.input.std), SPEC.outputs) for size in sizes)
    assert [synthetic.sufficient_count(spec) for spec in specs] == [128, 41, 32]


def test_a_network_whose_batch_norms_were_folded_is_refused(synthetic):
    with pytest.raises(InputError, match="no batch norms") as caught:
        synthetic.synthesise(normalise(trained_on(photographs(gray=True))), SPEC, 8)
    assert "PyTorch checkpoint" in caught.value.remedy


def test_statistics_that_no_image_has_are_refused(synthetic):
    graph = trained_on(photographs(gray=True))
    impossible = graph.with_constants({"norm.running_mean": graph.constants["norm.running_mean"] + np.float32(1e3)})
    with pytest.raises(InputError, match="no images match"):
        synthetic.synthesise(impossible, SPEC, 8)


PARTS = ("calibration", "held_back")
FOLDER = bundled_directory("calibration") / "fer_b0_synthetic"


def test_the_halves_of_the_bundled_set_share_no_image():
    halves = [set(open_images(FOLDER / f"{part}.npz").digests) for part in PARTS]
    assert len(halves[0]) == len(halves[1]) == 128
    assert not halves[0] & halves[1]


@pytest.mark.parametrize("part", PARTS)
def test_the_card_of_the_bundled_set_states_its_hashes(part):
    digest = sha256((FOLDER / f"{part}.npz").read_bytes()).hexdigest()
    assert f"`{part}.npz` | 128 | `{digest}`" in (FOLDER / "README.md").read_text("utf-8")


def test_the_bundled_set_fits_into_the_repository():
    assert sum((FOLDER / f"{part}.npz").stat().st_size for part in PARTS) < 2_500_000


def _as_pixels(images):
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255
