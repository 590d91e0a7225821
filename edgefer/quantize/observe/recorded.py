"""What a network carries at each image of a set, recorded once: its states are then fed like the image itself.

The float network goes through each sequence, so that all that is observed afterwards, of float and of quantized
networks, is of one image with the states that the float network had reached: images stay independent, and an error of
one step is not counted again in the next.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np

from edgefer.errors import InputError
from edgefer.graph.ir import Graph
from edgefer.graph.subgraph import extract
from edgefer.images import ImageSet, starts
from edgefer.images.preprocess import iter_pixels
from edgefer.quantize.observe.per_image import runnable
from edgefer.spec import INPUT, Spec


def recorded(graph: Graph, images: ImageSet, spec: Spec) -> ImageSet:
    """The set with the states that the float network is in at each image, by the names of its inputs.

    Args:
        graph: the float network, pixels in and meanings out.
        images: in sequences.
        spec: says what is carried.

    Raises:
        InputError: a state is not finite after some image, or the network cannot run.
    """
    if not spec.states:
        return images
    network = runnable(extract(graph, graph.inputs, [state.returned for state in spec.states]))
    initial = {state.fed: np.zeros(state.shape, np.float32) for state in spec.states}
    rows = {state.fed: np.empty((len(images), *state.shape), np.float32) for state in spec.states}
    begins, states = set(starts(images)), initial
    for index, pixels in enumerate(iter_pixels(images, spec.input)):
        states = initial if index in begins else states
        for name, array in states.items():
            rows[name][index] = array
        states = dict(zip(states, network({INPUT: pixels[np.newaxis], **states}), strict=True))
        if broken := next((state for state in spec.states if not np.isfinite(states[state.fed]).all()), None):
            raise InputError(
                f"state {broken.name!r} is not finite after {images.names[index]}",
                remedy="Check the network's weights, and the Spec's mean, std and initial states.",
            )
    return replace(images, arrays={**images.arrays, **rows})


def fed_with(images: ImageSet, spec: Spec) -> str:
    """Hex digest of all that a network is fed with at the images of a recorded set."""
    if not spec.states:
        return images.sha256
    digest = sha256(images.sha256.encode())
    for state in spec.states:
        digest.update(np.ascontiguousarray(images.arrays[state.fed]).data)
    return digest.hexdigest()
