"""What the TFLite emitter does not know is told before any work, with remedies that were tried."""

from __future__ import annotations

from edgefer.conversion.trial import run_of, sample
from edgefer.emit.onnx import emit_onnx
from edgefer.emit.tflite import unsupported
from edgefer.errors import InputError, UnsupportedOperatorError, about
from edgefer.graph.contract import contract_nodes
from edgefer.graph.ir import Graph
from edgefer.graph.number_of_images import for_any_number
from edgefer.graph.passes.integer_steps import in_integer_steps
from edgefer.networks.network import Network
from edgefer.quantize.observe.activations import collect
from edgefer.quantize.scales.int8 import plan_int8, tensors_to_observe
from edgefer.quantize.scales.islands import integer_nodes
from edgefer.runtime.apart import Apart
from edgefer.runtime.delegation import in_float

_ONNX2TF = "--tflite-backend onnx2tf may know it: whether it does is tried before anything is quantized."


def require_tflite(network: Network, graph: Graph) -> None:
    """Make sure that the TFLite emitter knows everything in the reference.

    Raises:
        UnsupportedOperatorError: the first node that it does not know; further operators are named.
    """
    if not (refused := unsupported(graph)):
        return
    first, *more = refused
    others = sorted({error.op for error in more} - {first.op})
    op = f"{first.op} (as {', '.join(others)} elsewhere)" if others else first.op
    remedy = f"{_without_tflite(network, graph)} {_ONNX2TF}"
    with about(network.source.path):
        raise UnsupportedOperatorError(first.node, op, "the TFLite emitter", remedy=remedy)


def require_images_apart(network: Network, graph: Graph) -> None:
    """Make sure that each image of a batch can be answered by itself.

    Raises:
        InputError: the first node of which that is not known.
    """
    with about(network.source.path):
        if network.spec.states or network.spec.input.frames:
            raise InputError(
                "a batch of any size is not possible: it looks at a sequence, one frame or clip at a time",
                remedy="Leave out --batch dynamic.",
            )
        try:
            for_any_number(graph)
        except InputError as error:
            raise InputError(
                f"a batch of any size is not possible: {error.message}",
                remedy="Leave out --batch dynamic; images one at a time, several instances side by side, need nothing.",
            ) from error


def require_integers(network: Network, graph: Graph) -> None:
    """Make sure that all between image and heads can compute in int8.

    Raises:
        InputError: the first node that cannot; further operators are named.
    """
    with about(network.source.path):
        if network.spec.states:
            raise InputError(
                "integers in and out are not possible: it carries states, which stay float32",
                remedy="Leave out --io int8.",
            )
        graph = in_integer_steps(graph)
        integer = {node.name for node in integer_nodes(graph, contract_nodes(graph))} | contract_nodes(graph)
        floats = [node for node in graph.nodes if node.name not in integer]
        if floats:
            first = floats[0]
            others = ", ".join(sorted({node.op for node in floats} - {first.op}))
            raise InputError(
                f"integers in and out are not possible: node {first.name!r} ({first.op}) computes in float between "
                f"them{f', as {others} elsewhere' if others else ''}",
                remedy="Leave out --io int8.",
            )


def require_integer_kernels(model: bytes) -> None:
    """Make sure that a TFLite file is nothing but integers.

    Raises:
        InputError: the first operator that has real numbers among what it reads or makes.
    """
    found = in_float(model)
    if found:
        raise InputError(
            f"integers in and out are not possible: LiteRT has no integer kernel for {found[0]}",
            remedy="Leave out --io int8, or TFLite: --formats onnx.",
        )


def _without_tflite(network: Network, graph: Graph) -> str:
    """What becomes of the network as ONNX alone, with ranges of a few images of noise."""
    images = sample(None, network.spec.input)
    keep_float = contract_nodes(graph)
    try:
        tensors = tensors_to_observe(graph, keep_float)
        plan = plan_int8(graph, collect(graph, tensors, run_of(b"", network.spec, images).feeds), keep_float)
        with Apart() as apart:
            run_of(emit_onnx(graph, plan).SerializeToString(), network.spec, images).outputs(apart)
    except InputError as error:
        return f"Without TFLite it does not convert either: {error.message}."
    return "Leave TFLite out, which was tried and works: --formats onnx."
