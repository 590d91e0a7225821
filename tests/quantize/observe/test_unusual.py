import numpy as np
import pytest

from edgefer.graph.builder import GraphBuilder
from edgefer.graph.contract import apply_contract
from edgefer.graph.passes import normalise
from edgefer.images import open_images
from edgefer.quantize.observe.unusual import usual_images
from edgefer.spec import Spec

SPEC = Spec.from_dict(
    {
        "input": {"size": [8, 8], "mean": [0.0] * 3, "std": [1.0] * 3},
        "outputs": [{"name": "score", "kind": "valence_arousal", "labels": ["valence", "arousal"]}],
    }
)


def exploding():
    """A network in which an image that is white all over is answered a hundred times as loud."""
    build = GraphBuilder("network")
    image = build.input("image", (1, 3, 8, 8))
    dark = build.conv("dark", image, np.full((4, 3, 1, 1), 1 / 3, np.float32), np.zeros(4, np.float32))
    bright = build.relu(
        "bright", build.add("above", dark, build.constant("limit", np.full((1, 1, 1, 1), -0.9, np.float32)))
    )
    loud = build.mul("loud", bright, build.constant("thousand", np.full((1, 1, 1, 1), 1000, np.float32)))
    both = build.add("both", loud, dark)
    mean = build.flatten("flat", build.global_average_pool("mean", both))
    weights = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    return apply_contract(normalise(build.graph(build.linear("score", mean, weights, np.zeros(2, np.float32)))), SPEC)


def faces(tmp_path, white, count=32):
    images = np.random.default_rng(1).integers(20, 200, (count, 8, 8, 3)).astype(np.uint8)
    images[white] = 255
    np.savez(tmp_path / "faces.npz", images=images)
    return open_images(tmp_path / "faces.npz")


@pytest.mark.parametrize(("white", "kept"), [([], 32), ([3, 17], 30), (range(0, 32, 4), 32)])
def test_few_images_that_are_answered_far_louder_are_left_out(tmp_path, white, kept):
    images = faces(tmp_path, list(white))
    usual = usual_images(exploding(), images, SPEC)
    assert len(usual) == kept
    assert (usual is images) == (kept == 32)
    assert kept == 32 or not {images.names[index] for index in white} & {*usual.names}
