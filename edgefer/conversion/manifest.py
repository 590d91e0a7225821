"""manifest.json: what a bundle holds, where it came from, and what was measured on the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from edgefer.bundle import REFERENCE_PRECISION, SCHEMA, Artifact, Batch
from edgefer.conversion.max_latency import MaxLatency
from edgefer.conversion.trial import Proof
from edgefer.emit.artifact import integer_ends
from edgefer.evaluation.metrics import decibels
from edgefer.graph.ir import Graph
from edgefer.graph.macs import macs, parameters
from edgefer.graph.patterns import find_silus, find_squeeze_excites
from edgefer.host.text import printable
from edgefer.images import CalibrationImages, ImageSet
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.quantize.costs.prices import int8_cost
from edgefer.quantize.method import Quantized
from edgefer.quantize.scales.equality import that_may_differ
from edgefer.quantize.weights_only import Precision
from edgefer.runtime.delegation import operator_counts, time_shares, undelegated

if TYPE_CHECKING:
    from edgefer.shrink.shrink import Shrunk

_BIASES = "corrected, with gains, for the mean and the slope of each channel"
_FLOAT = {"w8": "int8 weights per channel, float arithmetic", "fp16": "float16 weights, float arithmetic"}
_TOOLS = ("ai-edge-litert", "numpy", "onnx", "onnxruntime")


def build_manifest(
    network: Network,
    graph: Graph,
    quantized: Quantized,
    images: CalibrationImages,
    unlabelled: ImageSet | None,
    budget: int,
    models: Mapping[str, bytes],
    reference: bytes,
    tflite_backend: str,
    precision: Precision,
    proof: Proof,
    shrunk: Shrunk | None = None,
    batch: Batch = 1,
    latency: MaxLatency | None = None,
    costs_of: str = "",
) -> dict[str, Any]:
    """The manifest as plain data, but for the agreement on held-back images.

    Equal inputs give equal manifests where SOURCE_DATE_EPOCH is set.

    Args:
        network: what was converted.
        graph: its normalised graph, pixels in and meanings out.
        quantized: the result of quantization.
        images: what was calibrated and judged on.
        unlabelled: what a network that shrank was to learn on beside them.
        budget: bytes that an artifact may have.
        models: artifacts by format.
        reference: the float ONNX file.
        tflite_backend: who wrote the TFLite file.
        precision: what artifacts are stored in.
        proof: what the reference was compared with before.
        shrunk: the network of fewer channels that was quantized instead of `graph`, if any was.
        batch: images that ONNX files take at once.
        latency: the bound that was asked for, if any.
        costs_of: the machine whose costs tell what rounds of removing channels take, in words.
    """
    artifacts = [
        _artifact(network, quantized.graph, quantized.plan, format, data, precision, batch)
        for format, data in models.items()
    ]
    artifacts.append(_artifact(network, graph, Plan(), "onnx", reference, REFERENCE_PRECISION, batch))
    return {
        "schema": SCHEMA,
        "name": network.name,
        "edgefer_version": version("edgefer"),
        "created": _now(),
        "source": {
            "file": printable(network.source.path.name),
            "sha256": network.source.sha256,
            "family": network.family,
        },
        "proof": proof.to_dict(),
        **network.spec.to_dict(),
        "artifacts": [asdict(artifact) for artifact in artifacts],
        "budget_bytes": budget,
        **_solved(quantized),
        "calibration": {
            "source": images.source,
            **_counted(images.calibration),
            "halves_sqnr_db": [decibels(1, noise) for noise in quantized.halves],
            "suffices": precision != "int8" or quantized.calibration_suffices,
        },
        "held_back": {"source": images.source, **_counted(images.held_back), "agreement": {}},
        **({} if unlabelled is None else {"unlabelled": {"source": unlabelled.source, **_counted(unlabelled)}}),
        "quantization": {
            "scheme": _FLOAT[precision] if precision in _FLOAT else _scheme(quantized.plan),
            "ranges": "none" if precision in _FLOAT else "minimum mean squared error, judged after SiLU",
            "left_out": quantized.left_out,
            "equalised": list(quantized.equalised),
            "biases": "as they were" if precision == "fp16" else _BIASES,
            "learned_steps": quantized.learned,
            "silu": len(find_silus(graph)),
            "squeeze_excite": len(find_squeeze_excites(graph)),
            "parameters": parameters(graph),
            **({} if shrunk is None else {"shrunk": {**shrunk.to_dict(), "costs_of": costs_of}}),
            "tflite_backend": tflite_backend,
            **(_outside(models["tflite"]) if "tflite" in models else {"undelegated": []}),
            "may_differ": None if tflite_backend == "onnx2tf" else that_may_differ(quantized.graph, quantized.plan),
        },
        "tools": {tool: version(tool) for tool in _TOOLS},
        **({} if shrunk is None else {"rounds": [each.to_dict() for each in shrunk.rounds]}),
        **({} if latency is None else {"latency": _expected(latency, graph, quantized)}),
    }


def _expected(latency: MaxLatency, graph: Graph, quantized: Quantized) -> dict[str, Any]:
    """A bound, and what is expected of the artifacts."""
    chosen = 1.0 if quantized.solution is None else quantized.solution.chosen.latency
    return latency.to_dict(graph, int8_cost(quantized.graph, latency.machine) * chosen)


def _outside(model: bytes) -> dict[str, Any]:
    """What XNNPACK leaves to slower kernels and, unless files are to be the same every time, how long that takes."""
    left = undelegated(model)
    if not left or "SOURCE_DATE_EPOCH" in os.environ:
        return {"undelegated": left}
    return {"undelegated": left, "undelegated_time": time_shares(model)}


def _solved(quantized: Quantized) -> dict[str, Any]:
    """What was chosen among, and the bound on the drop, which `evaluate` takes over."""
    if quantized.solution is None:
        return {}
    drop = quantized.solution.bounds.drop
    return {"solution": quantized.solution.to_dict(), **({} if drop is None else {"max_drop": drop})}


def _scheme(plan: Plan) -> str:
    floats = sum(compute == "float" for compute in plan.nodes.values())
    int4 = sum(params.dtype == "int4" for params in plan.tensors.values())
    scheme = "int8 weights per channel, int8 activations, int32 bias"
    scheme = f"mixed: {scheme}; {floats} nodes in float from int8 weights" if floats else f"full int8: {scheme}"
    return f"{scheme}; weights of {int4} layers in int4" if int4 else scheme


def _artifact(
    network: Network,
    graph: Graph,
    plan: Plan,
    format: str,
    data: bytes,
    precision: Precision | Literal["float32"],
    batch: Batch,
) -> Artifact:
    suffix = "fp32" if precision == REFERENCE_PRECISION else precision
    ops = operator_counts(data) if format == "tflite" else _node_counts(graph, plan)
    digest = sha256(data).hexdigest()
    name, count = f"{network.name}_{suffix}.{format}", batch if format == "onnx" else 1
    io = integer_ends(format, graph, plan)
    return Artifact(name, format, precision, len(data), digest, ops, macs(graph), count, io)


def _node_counts(graph: Graph, plan: Plan) -> dict[str, int]:
    int8 = sum(plan.is_int8(node.name) for node in graph.nodes)
    return {"int8": int8, "float": len(graph.nodes) - int8}


def _counted(images: ImageSet) -> dict[str, Any]:
    return {"count": len(images), "skipped": len(images.skipped), "sha256": images.sha256}


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch and epoch.isdigit() else datetime.now(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
