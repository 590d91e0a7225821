"""`convert`: a trained network becomes int8 artifacts that mean the same thing, in one bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from edgefer.bundle import Batch, Bundle, check_destination, write_bundle
from edgefer.conversion.calibration import SYNTHETIC, calibration_images, compared_images, opened
from edgefer.conversion.doubts import chosen_for, doubts, too_few
from edgefer.conversion.manifest import build_manifest
from edgefer.conversion.max_latency import parse_latency
from edgefer.conversion.options import FORMATS, Backend, Ends, refuse_contradictions, refuses_to_shrink
from edgefer.conversion.remedies import require_images_apart, require_integer_kernels, require_integers, require_tflite
from edgefer.conversion.shrinking import Shrinking
from edgefer.conversion.trial import Proof, made_of, probe, prove, prove_tflite, sample
from edgefer.device.operator_costs import read_operator_costs
from edgefer.emit.artifact import emit
from edgefer.emit.onnx2tf import emit_with_onnx2tf
from edgefer.emit.tflite import describe
from edgefer.errors import UsageError, about
from edgefer.evaluation.evaluate import evaluate
from edgefer.evaluation.heads import chooses_class
from edgefer.evaluation.quick_look import agreement
from edgefer.evaluation.results import REFERENCE, Evaluation
from edgefer.graph.contract import apply_contract, head_logits
from edgefer.graph.ir import Graph
from edgefer.graph.macs import macs, parameters
from edgefer.graph.passes import normalise
from edgefer.graph.passes.integer_steps import in_integer_steps
from edgefer.graph.patterns import find_silus, find_squeeze_excites
from edgefer.host.environments import ONNX2TF
from edgefer.host.memory import release, share_arena
from edgefer.host.progress import SILENT, Progress
from edgefer.host.threads import aside, one_blas_thread
from edgefer.images import CalibrationImages, ImageSet
from edgefer.images.preprocess import iter_pixels
from edgefer.networks.families import load_network
from edgefer.networks.network import Network
from edgefer.plan import Plan
from edgefer.quantize.costs.machines import EVERYWHERE, TARGETS
from edgefer.quantize.costs.prices import int8_cost
from edgefer.quantize.integer_ends import with_integer_ends
from edgefer.quantize.lessons import Effort
from edgefer.quantize.method import quantize
from edgefer.quantize.observe.drop import Answer
from edgefer.quantize.solve.solver import LATENCY, Bounds
from edgefer.quantize.weights_only import Precision, quantize_weights
from edgefer.report import conversion_report
from edgefer.runtime.apart import Apart
from edgefer.runtime.runners import Format
from edgefer.shrink.asked import REACH
from edgefer.spec import OutputSpec

BUDGET = 8_000_000
SAMPLES = 512
"""At most so many images are calibrated on by default."""


def convert(
    model: str | Path = "fer_b0",
    output: str | Path | None = None,
    *,
    family: str | Path | None = None,
    arch: str = "",
    spec: Mapping[str, Any] | None = None,
    weights: str = "",
    calibration: str | Path | None = None,
    samples: int = SAMPLES,
    budget: int = BUDGET,
    max_drop: float | None = None,
    max_latency: str | None = None,
    mixed: bool = False,
    target: str | None = None,
    costs: str | Path | None = None,
    shrink: bool = False,
    unlabelled: str | Path | None = None,
    effort: Effort = "fast",
    formats: Sequence[Format] = FORMATS,
    tflite_backend: Backend = "edgefer",
    precision: Precision = "int8",
    batch: Batch = 1,
    io: Ends = "float",
    progress: Progress = SILENT,
) -> Bundle:
    """Quantize a network, to int8 unless asked otherwise, and write its bundle.

    Args:
        model: `.onnx`, `.pt`, `.pth`, `.ckpt` or `.safetensors` file, or the name of a bundled network.
        output: directory of the bundle; `NAME_bundle` in the working directory by default.
        family: converter to use, by name or as a Python file of your own; recognised by default.
        arch: architecture, where the checkpoint does not say it.
        spec: as in a `.spec.toml` file, instead of one beside the file; what it lacks is as the file itself has it.
        weights: key of the weights to take, where a checkpoint holds several sets, as `state_dict_ema`.
        calibration: folder, zip or npz of images, name of a set, or `synthetic`.
        samples: at most so many images are calibrated on.
        budget: bytes that an artifact may have; `Bundle.over_budget` tells which have more.
        max_drop: percentage points of accuracy that may be lost, as far as held-back images tell; parts compute in
            float where this needs it, as few as can be.
        max_latency: what an inference may take, as `20ms@board.json` or `0.7x@pi5`, by what operators cost there.
        mixed: whether parts may compute in float, from int8-stored weights, where the artifacts then take at most
            1.25 times as long; without `max_drop`, those that lose most in int8.
        target: where the artifacts are to be fast: `pi4`, `pi5`, `android` or `x86`, by what operators cost there; by
            default none of them may lose much by what another gains.
        costs: the same of a board of yours: what `edgefer benchmark --operator-costs --json` wrote.
        shrink: whether channels may be removed where int8 is over the budget or the latency, and weights learned
            again: the longer, the more `effort`; without the `torch` extra they are fitted by least squares alone.
        unlabelled: folder, zip or npz of more faces to learn on then, of which no labels are needed; those that are
            held back to judge by are not learned on.
        effort: how much time may be spent to come closer to float: for `fer_b0` on two cores 11 to 45 seconds,
            40 to 150, or 3 to 12 minutes, by the age of the CPU.
        formats: which artifacts to make.
        tflite_backend: who writes the TFLite file: edgefer itself, or onnx2tf for operators it does not know.
        precision: `int8` throughout; `w8`, weights in int8 and arithmetic in float; or `fp16`, weights in float16, as
            GPU delegates take them.
        batch: `dynamic` for ONNX files that take any number of images at once, as servers want; TFLite files take one.
        io: `int8` for accelerators that want integers in and out: TFLite takes int8, pixels less 128, and ONNX uint8,
            pixels as they are; both return integers, whose scales and zero points the manifest has too.
        progress: listens to the stages.

    Raises:
        UsageError: the options contradict each other, or an extra is missing.
        InputError: a file is unreadable, unsupported or hostile.
    """
    share_arena()
    if "" in (model, output, calibration, costs, unlabelled, max_latency):
        raise UsageError("the name of a file is empty", remedy="Is a variable of the shell unset?")
    refuse_contradictions(
        formats=formats,
        tflite_backend=tflite_backend,
        precision=precision,
        effort=effort,
        batch=batch,
        io=io,
        max_drop=max_drop,
        mixed=mixed,
        shrink=shrink,
        learns_on_more=unlabelled is not None,
        target=target,
        has_costs=costs is not None,
    )
    batched = batch == "dynamic"
    latency = parse_latency(max_latency) if max_latency is not None else None
    machines = (read_operator_costs(costs),) if costs is not None else TARGETS[target] if target else EVERYWHERE
    if latency is not None and machines is EVERYWHERE:
        machines = (latency.machine,)
    if output is not None:
        check_destination(Path(output))

    if "tflite" in formats and tflite_backend == "onnx2tf":
        ONNX2TF.require()
    with Apart() as apart:  # which starts meanwhile
        with progress.stage("read"):
            network = load_network(model, family=family, arch=arch, spec=dict(spec or {}), weights=weights)
        for note in network.notes:
            progress.note(note)
        not_shrunk = refuses_to_shrink(precision, tflite_backend, is_of_sequences=network.spec.is_of_sequences)
        if shrink and not_shrunk:
            raise UsageError(f"{network.name} {not_shrunk}", remedy="Leave it out.")
        if tflite_backend == "onnx2tf" and network.spec.is_of_sequences:
            raise UsageError(
                f"{network.name} looks at more than one image, which onnx2tf cannot", remedy="Leave it out."
            )
        path = Path(output) if output is not None else Path(f"{network.name}_bundle")
        check_destination(path)
        own = [format for format in formats if (format, tflite_backend) != ("tflite", "onnx2tf")]
        with progress.stage("normalise"), about(network.source.path):
            graph = apply_contract(normalise(network.graph), network.spec)
            if "tflite" in own:
                require_tflite(network, graph)
            if io == "int8":
                require_integers(network, graph)
            if batched:
                require_images_apart(network, graph)
        progress.detail(_description(network, graph))
        heads = _heads(network, graph)
        if max_drop is not None and not any(answer.has_accuracy for answer in heads.values()):
            raise UsageError(
                f"a drop of accuracy cannot be bounded: no output of {network.name} has probabilities",
                remedy="Use mixed precision, which lowers the noise of outputs of any kind.",
            )
        if str(calibration) == SYNTHETIC:  # which takes minutes to make
            proof = _try(network, graph, None, own, apart, progress)
        images = calibration_images(calibration, network, samples, progress)
        more = None if unlabelled is None else opened(unlabelled, progress)
        compared = compared_images(images, network.spec, max_drop, progress)
        if str(calibration) != SYNTHETIC:
            proof = _try(network, graph, images.calibration, own, apart, progress)
    network = replace(network, graph=graph, original=None, twin=None)  # the weights as they were read may go
    models: dict[str, bytes] = dict.fromkeys(formats, b"")
    if len(own) < len(formats):
        with progress.stage("emit tflite"), about(network.source.path):
            models["tflite"] = _emit_with_onnx2tf(network, _emit("onnx", network, graph, Plan()), images)

    size = partial(_largest, own, network)
    machine = latency.machine if latency is not None else machines[0]
    shrinking = Shrinking(network, graph, heads, images, more, effort, size, machine)
    shrunk = shrinking.shrunk(budget, latency, progress) if shrink else None
    smaller = graph if shrunk is None else shrunk.graph
    if io == "int8":
        smaller = in_integer_steps(smaller)
    with Apart() as apart:  # which starts meanwhile
        with made_of(network), one_blas_thread():
            if precision == "int8":
                slowest = max(latency.allowed(graph) / int8_cost(smaller, latency.machine), 1.0) if latency else inf
                quantized = quantize(
                    smaller,
                    heads,
                    images,
                    network.spec,
                    effort,
                    Bounds(budget, max_drop, min(slowest, LATENCY if mixed else inf), four_bits=io == "float"),
                    size,
                    progress,
                    mixed=mixed or max_drop is not None,
                    integer_heads=io == "int8",
                    machines=machines,
                    lessons=None if shrunk is None else shrinking.lessons(shrunk),
                    shrinks_to=inf if shrink or not_shrunk else 1 - REACH,
                )
            else:
                with progress.stage("store weights"), about(network.source.path):
                    quantized = quantize_weights(graph, precision, images.calibration, network.spec)
        if precision == "int8" and not quantized.calibration_suffices:
            progress.note(too_few(images, quantized))
        if machines is EVERYWHERE and quantized.solution is not None and quantized.solution.chosen.floats:
            progress.note(chosen_for(machines[0].machine))
        if io == "int8":
            stored, plan = with_integer_ends(quantized.graph, quantized.plan)
            quantized = replace(quantized, graph=stored, plan=plan)
        few = sample(images.held_back, network.spec.input)
        reference_made = aside(partial(_emit, "onnx", network, graph, Plan(), batched=batched))
        for format in own:
            with progress.stage(f"emit {format}"):
                made = partial(_emit, format, network, plan=quantized.plan, batched=batched)
                models[format] = probe(network, format, quantized.graph, made, few, apart)
    reference = reference_made.result()
    if io == "int8" and "tflite" in models:
        with about(network.source.path):
            require_integer_kernels(models["tflite"])
    manifest = build_manifest(
        network,
        graph,
        quantized,
        images,
        more,
        budget,
        models,
        reference,
        tflite_backend,
        precision,
        proof,
        shrunk,
        batch,
        latency,
        machine.machine,
    )
    files = _files(network, quantized.plan, models, reference, precision)
    meanings = network.spec
    del network, graph, smaller, quantized, shrinking, size  # as large as the network; what follows reads the files
    release()
    with progress.stage("compare"):
        evaluation = _compare(path.name, manifest, files, compared)
    outputs = evaluation.outputs.values
    agreements = {format: agreement(outputs[REFERENCE], outputs[format], meanings) for format in models}
    for doubt in doubts(agreements, outputs, meanings):
        progress.note(doubt)
    with progress.stage("write"):
        manifest["held_back"]["agreement"] = agreements
        report = conversion_report(manifest, evaluation)
        bundle = write_bundle(path, manifest, {**files, "report.html": report.encode()})
    if shrunk is not None:
        shrunk.journal.close()
    return bundle


def _try(
    network: Network,
    graph: Graph,
    images: ImageSet | None,
    formats: Sequence[Format],
    apart: Apart,
    progress: Progress,
) -> Proof:
    """Refuse, before any work is done, what would end in another network, or in files that nothing runs."""
    few = sample(images, network.spec.input)
    with progress.stage("prove"):
        proof = prove(network, graph, few, apart, progress)
        if "tflite" in formats:
            prove_tflite(network, graph, few, apart)
        return proof


def _compare(name: str, manifest: Mapping[str, Any], files: Mapping[str, bytes], images: ImageSet) -> Evaluation:
    """Evaluate the artifacts, in little memory, before the bundle is written, which is to hold the report."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch) / name, manifest, files)
        return evaluate(draft, images, workers=1, layer_images=0)


def _heads(network: Network, graph: Graph) -> dict[str, Answer]:
    """The values before the outputs' activations, and what they are read as."""
    logits = head_logits(graph, network.spec)
    return {logits[head.name]: _answer(head, graph.producers[head.name].op) for head in network.spec.outputs}


def _answer(head: OutputSpec, activation: str) -> Answer:
    if chooses_class(head):
        return Answer("softmax")
    return Answer("sigmoid", tuple(head.thresholds or ())) if activation == "Sigmoid" else Answer("none")


def _description(network: Network, graph: Graph) -> str:
    patterns = f"{len(find_silus(graph))} SiLU, {len(find_squeeze_excites(graph))} squeeze-excite"
    size = f"{parameters(graph) / 1e6:.2f} M parameters, {macs(graph) / 1e6:.0f} M multiply-accumulates"
    return f"{network.family}: {len(graph.nodes)} nodes ({patterns}), {size}"


def _largest(formats: Sequence[Format], network: Network, graph: Graph, plan: Plan) -> int:
    """Bytes of the largest artifact."""
    return max((len(_emit(format, network, graph, plan)) for format in formats), default=0)


def _emit(format: str, network: Network, graph: Graph, plan: Plan, *, batched: bool = False) -> bytes:
    return emit(format, graph, plan, network.spec, network.name, batched=batched)


def _emit_with_onnx2tf(network: Network, reference: bytes, images: CalibrationImages) -> bytes:
    pixels = iter_pixels(images.calibration, network.spec.input)
    return describe(emit_with_onnx2tf(reference, pixels), network.spec, network.name)


def _files(
    network: Network, plan: Plan, models: Mapping[str, bytes], reference: bytes, precision: Precision
) -> dict[str, bytes]:
    artifacts = {f"{network.name}_{precision}.{format}": data for format, data in models.items()}
    labels = "".join(f"{label}\n" for output in network.spec.outputs for label in output.labels)
    return {
        **artifacts,
        f"{network.name}_fp32.onnx": reference,
        "plan.json": plan.to_json().encode(),
        "labels.txt": labels.encode(),
    }
