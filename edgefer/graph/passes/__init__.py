"""Normalisation: small named passes, each a function from graph to graph that keeps the float outputs.

A pass returns the very graph it was given when there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable

from edgefer.graph.ir import Graph
from edgefer.graph.passes.canonicalise import (
    flatten_pixels,
    fuse_activations,
    merge_matmul_bias,
    merge_reshapes,
    plain_gemms,
    pool_globally,
)
from edgefer.graph.passes.decompose import decompose
from edgefer.graph.passes.fold_affine import fold_affine
from edgefer.graph.passes.fold_batch_norm import fold_batch_norm
from edgefer.graph.passes.fold_constants import fold_constants
from edgefer.graph.passes.merge_branches import merge_branches
from edgefer.graph.passes.recognise import recognise_activations, recognise_layer_norm
from edgefer.graph.passes.remove_channels import remove_channels
from edgefer.graph.passes.remove_dead import remove_dead
from edgefer.graph.passes.remove_identities import remove_identities
from edgefer.graph.passes.resolve_padding import resolve_padding
from edgefer.graph.passes.separate_biases import separate_biases
from edgefer.graph.passes.tie_weights import tie_weights
from edgefer.graph.passes.trim_kernels import trim_kernels

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    fold_constants,
    remove_identities,
    recognise_layer_norm,
    recognise_activations,
    decompose,
    merge_reshapes,
    resolve_padding,
    pool_globally,
    flatten_pixels,
    merge_matmul_bias,
    plain_gemms,
    tie_weights,
    fold_batch_norm,
    fold_affine,
    merge_branches,
    fuse_activations,
    trim_kernels,
    separate_biases,
    remove_channels,
    remove_dead,
)


def normalise(graph: Graph) -> Graph:
    """Apply all passes, in order, until none of them changes anything."""
    while True:
        before = graph
        for apply in PASSES:
            graph = apply(graph)
        if graph is before:
            return graph
