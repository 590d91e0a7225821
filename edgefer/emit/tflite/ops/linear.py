"""Matrix products: FULLY_CONNECTED where the weights are constant, BATCH_MATMUL where they are not."""

from __future__ import annotations

from dataclasses import replace

from edgefer.emit.tflite.handlers import emits
from edgefer.emit.tflite.layout import identity
from edgefer.emit.tflite.ops.convolution import bias_or_zeros
from edgefer.emit.tflite.site import Site
from edgefer.emit.tflite.window import scalar
from edgefer.graph.ir import Array


@emits("Gemm", fuses=True)
def gemm(at: Site) -> None:
    """Gemm is alpha * A' B' + beta * C, the matrices transposed or not."""
    alpha, beta = at.node.float("alpha", 1.0), at.node.float("beta", 1.0)
    plain = (alpha, beta) == (1.0, 1.0)
    bias = at.graph.constants.get(at.node.input(2))
    fits = not at.node.input(2) or (bias is not None and bias.size == bias.shape[-1:][0] == at.output_shape[1])
    if at.graph.is_constant(at.node.inputs[1]) and plain and fits:
        source = at.input(0, (1, 0) if at.node.int("transA") else (0, 1))
        weights = at.input(1, (0, 1) if at.node.int("transB") else (1, 0))
        _fully_connected(at, source, weights, _flat_bias(at, bias), at.output((0, 1)), at.activation)
    else:
        _spelled_out(at.in_float(), alpha, beta)


def _flat_bias(at: Site, bias: Array | None) -> int:
    if bias is None or bias.ndim == 1:
        return bias_or_zeros(at, at.output_shape[1])
    params = at.values.plan.tensors.get(at.node.inputs[2]) if at.quantized else None
    if params is not None and params.axis is not None:
        params = replace(params, axis=0)
    return at.values.constant(at.node.inputs[2], bias.reshape(-1), params)


def _spelled_out(at: Site, alpha: float, beta: float) -> None:
    """A product, its factor and its summand one by one, in float."""
    target = at.output((0, 1))
    shape = at.output_shape
    left = at.input(0, (1, 0) if at.node.int("transA") else (0, 1))
    right = at.input(1, (1, 0) if at.node.int("transB") else (0, 1))
    steps = [alpha != 1.0, bool(at.node.input(2))]
    product = at.temporary(shape, "product") if any(steps) or at.activation else target
    at.emit("BATCH_MATMUL", [left, right], product, "BatchMatMulOptions")
    if alpha != 1.0:
        scaled = at.temporary(shape, "scaled") if steps[1] or at.activation else target
        at.emit("MUL", [product, scalar(at, alpha, product)], scaled, "MulOptions")
        product = scaled
    if at.node.input(2):
        summand = at.input(2, (0, 1))
        if beta != 1.0:
            weighted = at.temporary(at.values.writer.tensors[summand].shape, "weighted")
            at.emit("MUL", [summand, scalar(at, beta, summand)], weighted, "MulOptions")
            summand = weighted
        at.emit("ADD", [product, summand], target, "AddOptions", fusedActivationFunction=at.activation)
    elif at.activation:
        at.emit({"Relu": "RELU", "Relu6": "RELU6"}[at.node.activation], [product], target)


@emits("MatMul")
def matmul(at: Site) -> None:
    """A product of matrices, or of stacks of them."""
    ranks = [len(at.shape(index)) for index in (0, 1)]
    if min(ranks) < 2 or max(ranks) > 5:
        raise at.unsupported(f"operands of rank {ranks[0]} and {ranks[1]}")
    if ranks[1] == 2 and at.graph.is_constant(at.node.inputs[1]):
        source, weights = at.input(0, identity(ranks[0])), at.input(1, (1, 0))
        _fully_connected(at, source, weights, bias_or_zeros(at, at.shape(1)[1]), at.output(identity(ranks[0])))
        return
    at = at.in_float()
    operands = [at.input(index, identity(rank)) for index, rank in enumerate(ranks)]
    at.emit("BATCH_MATMUL", operands, at.output(identity(len(at.output_shape))), "BatchMatMulOptions")


def _fully_connected(at: Site, source: int, weights: int, bias: int, target: int, activation: int = 0) -> None:
    at.emit(
        "FULLY_CONNECTED",
        [source, weights, bias],
        target,
        "FullyConnectedOptions",
        keepNumDims=len(at.output_shape) > 2,
        fusedActivationFunction=activation,
    )
