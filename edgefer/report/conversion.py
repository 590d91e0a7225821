"""The report that `convert` writes: does the bundle fit, does it agree, and how is it used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from edgefer.bundle import REFERENCE_PRECISION
from edgefer.evaluation.heads import chooses_class, decides
from edgefer.evaluation.quick_look import shown
from edgefer.host.text import counted
from edgefer.report.markup import Html, facts, html, join, section, table
from edgefer.report.solution import drop_sentence, latency_sentence
from edgefer.spec import GRAY_WEIGHTS, OutputSpec, Spec

Manifest: TypeAlias = Mapping[str, Any]

FEW = 50
LABELS_SHOWN = 40

_FORMATS = {"tflite": "TFLite", "onnx": "ONNX"}
_MEANINGS = {
    "softmax": "probabilities that sum to 1",
    "sigmoid": "probabilities, each on its own",
    "tanh": "values between -1 and 1",
    "none": "the network's own values",
}


def section_verdict(manifest: Manifest) -> Html:
    """The headline: budget, allowed drop and latency kept or not, and agreement with the float network."""
    budget = manifest["budget_bytes"]
    artifacts = [artifact for artifact in manifest["artifacts"] if artifact["precision"] != REFERENCE_PRECISION]
    over = [artifact for artifact in artifacts if artifact["bytes"] > budget]
    largest = _mb(max(artifact["bytes"] for artifact in artifacts))
    verdict = f"The budget of {_mb(budget)} holds: the largest file has {largest}."
    if over:
        excess = ", ".join(f"{_format(a['format'])} is {a['bytes'] - budget:,} bytes over" for a in over)
        verdict = f"The budget of {_mb(budget)} does not hold: {excess}."
    solution = manifest.get("solution", {})
    if solution.get("max_drop") is not None:
        verdict += f" {drop_sentence(solution)}"
    latency = manifest.get("latency")
    is_slow = latency is not None and latency["expected"] > latency["allowed"]
    if latency is not None:
        verdict += f" {latency_sentence(latency)}"
    return html(
        '<header>\n<p class="kicker">Conversion report</p>\n<h1>{name}</h1>\n'
        '<div class="verdict{missed}">\n<strong>{verdict}</strong>\n{agreement}\n</div>\n</header>',
        name=manifest["name"],
        missed=" missed" if over or solution.get("drop_over") or is_slow else "",
        verdict=verdict,
        agreement=_agreement_sentence(manifest),
    )


def section_artifacts(manifest: Manifest) -> Html:
    """Size, operators and agreement of every file, side by side."""
    artifacts, heads = manifest["artifacts"], _heads(manifest)
    rows: list[tuple[str, Sequence[object]]] = [
        ("Bytes", [html("{bytes:,}", bytes=artifact["bytes"]) for artifact in artifacts]),
        ("int8 operators", [artifact["ops"]["int8"] for artifact in artifacts]),
        ("Float operators", [artifact["ops"]["float"] for artifact in artifacts]),
        ("Multiply-accumulates", [f"{artifact['macs'] / 1e6:,.1f} M" for artifact in artifacts]),
    ]
    rows += [
        (_measure(head, heads), [_agreement_cell(manifest, artifact, head) for artifact in artifacts]) for head in heads
    ]
    names = [html("{format} {precision}", format=_format(a["format"]), precision=a["precision"]) for a in artifacts]
    caption = f"Agreement is with the float network, on {counted(manifest['held_back']['count'], 'held-back image')}."
    return section("Artifacts", size_chart(manifest), table(caption, names, rows))


def section_contract(manifest: Manifest) -> Html:
    """What to feed the artifacts, and what they return."""
    spec = manifest["input"]
    clip = [spec["frames"]] if spec.get("frames") else []
    shape = ", ".join(map(str, (1, *clip, *spec["size"], 3)))
    crop = f"shorter side, then the centre cut out, {spec['crop_fraction']:.4g} of that side"
    outputs = join(
        html(
            '<h3>Output <code>{name}</code>: {meaning}</h3>\n<ol class="labels">\n{labels}\n</ol>',
            name=head["name"],
            meaning=_MEANINGS[head["activation"]],
            labels=_labels(head["labels"]),
        )
        for head in manifest["outputs"]
    )
    return section(
        "Input and outputs",
        html("<p>Feed plain pixels: the files normalise inside, so an app has nothing to scale or reorder.</p>"),
        facts(
            [
                ("Pixels", html("uint8 <code>({shape})</code>, RGB, 0 to 255", shape=shape)),
                *_integers(manifest["artifacts"]),
                ("Resize", f"{spec['resize']}, {'both sides' if spec['fit'] == 'stretch' else crop}"),
                (
                    "Done inside",
                    f"(x / 255 - mean) / std {_channels(spec)}, with mean {_numbers(spec['mean'])} "
                    f"and std {_numbers(spec['std'])}",
                ),
            ]
        ),
        outputs,
    )


def _integers(artifacts: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """What integers stand for in files that take and return them."""
    for artifact in artifacts:
        if io := artifact.get("io"):
            ends = (
                f"{name} {e['dtype']}, scale {e['scale']:g}, zero point {e['zero_point']}" for name, e in io.items()
            )
            yield f"Integers in {_format(artifact['format'])}", "; ".join(ends)


def _channels(spec: Mapping[str, Any]) -> str:
    if spec["color"] != "GRAY":
        return f"in {spec['color']} order"
    return f"of gray, which is red, green and blue times {_numbers(spec.get('gray', GRAY_WEIGHTS))}"


def section_python(manifest: Manifest) -> Html:
    """Code that runs the bundle."""
    head = json.dumps(manifest["outputs"][0]["name"], ensure_ascii=False)
    return section(
        "Use it in Python",
        html(
            "<pre><code>import edgefer\n\n"
            "model = edgefer.load(&quot;PATH/TO/THIS/BUNDLE&quot;)\n"
            "result = model(image)  # uint8 (H, W, 3), RGB, any size\n"
            "result[{head}].top\n"
            "result[{head}].as_dict()</code></pre>",
            head=head,
        ),
    )


def section_calibration(manifest: Manifest) -> Html:
    """Which images the ranges came from, and which ones judged them."""
    calibration, held_back = manifest["calibration"], manifest["held_back"]
    pairs: list[tuple[str, object]] = [
        ("Image set", calibration["source"]),
        ("Calibrated on", counted(calibration["count"], "image")),
        ("Judged on", html("{n:,} others, held back from calibration", n=held_back["count"])),
    ]
    if calibration["halves_sqnr_db"]:
        levels = " and ".join(f"{level:.1f} dB" for level in calibration["halves_sqnr_db"])
        verdict = "enough images" if calibration["suffices"] else "too few images"
        pairs.append(("With either half of them", f"{levels} at the heads: {verdict}"))
    if calibration.get("skipped"):
        pairs.append(("Skipped", html("{n:,} files that could not be read", n=calibration["skipped"])))
    return section("Calibration", facts(pairs))


def section_quantization(manifest: Manifest) -> Html:
    """How the network became integers."""
    names = {
        "scheme": "Scheme",
        "ranges": "Ranges",
        "biases": "Biases",
        "learned_steps": "Weights learned for, in steps",
        "left_out": "Parameters left out, of channels that hardly matter",
        "silu": "SiLU activations",
        "squeeze_excite": "Squeeze-and-excite blocks",
        "parameters": "Parameters",
        "shrunk": "Channels removed",
        "tflite_backend": "TFLite written by",
        "undelegated": "Left to slow kernels",
        "undelegated_time": "Their share of a frame's time",
        "may_differ": "May differ by a step between the files",
    }
    summary = manifest["quantization"]
    return section("Quantization", facts((names.get(key, key), _written(value)) for key, value in summary.items()))


def _proved(proof: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """What the float reference was compared with, in bundles that say so."""
    if proof is None:
        return
    if proof["differences"]:
        names = {"file": "the file itself", "torch": "what PyTorch answers", "graph": "the graph read from it"}
        what = names[proof["against"]]
        largest = max(proof["differences"].values())
        images = counted(proof["images"], "image")
        yield "Float reference", f"differs from {what} by at most {largest:.0e} of the largest number, on {images}"
    if twin := proof.get("twin"):
        found = f"differ by at most {twin['difference']:.0e} from {twin['arch']} ({twin['library']})"
        yield "Its features", found


def section_provenance(manifest: Manifest) -> Html:
    """Where everything came from, with hashes."""
    source = manifest["source"]
    hashes = [
        (source["file"], source["sha256"]),
        *((artifact["file"], artifact["sha256"]) for artifact in manifest["artifacts"]),
        ("calibration images", manifest["calibration"]["sha256"]),
        ("held-back images", manifest["held_back"]["sha256"]),
    ]
    tools = ", ".join(f"{tool} {version}" for tool, version in manifest["tools"].items())
    return section(
        "Provenance",
        facts(
            [
                ("Trained network", f"{source['file']}, read as {source['family']}"),
                *_proved(manifest.get("proof")),
                ("Made by", f"edgefer {manifest['edgefer_version']}, {manifest['created']}"),
                ("With", tools),
            ]
        ),
        html("<h3>SHA-256</h3>"),
        facts((name, html("<code>{digest}</code>", digest=digest)) for name, digest in hashes),
    )


def size_chart(manifest: Manifest) -> Html:
    """A bar for each file, with the budget as a line across it."""
    budget = manifest["budget_bytes"]
    longest = max(budget, *(artifact["bytes"] for artifact in manifest["artifacts"]))
    bars = join(
        html(
            '<div class="bar{over}"><span>{file}</span><span>{size}{note}</span></div>\n'
            '<svg height="14" aria-hidden="true"><rect class="track" y="2" width="100%" height="10"/>'
            '<rect class="{precision}{over}" y="2" width="{length:.2f}%" height="10"/>'
            '<line class="budget" x1="{budget:.2f}%" x2="{budget:.2f}%" y1="0" y2="14"/></svg>',
            file=artifact["file"],
            size=_mb(artifact["bytes"]),
            note=f", {100 * artifact['bytes'] / budget:.0f} % of the budget"
            if artifact["precision"] != REFERENCE_PRECISION
            else "",
            over=" over" if artifact["precision"] != REFERENCE_PRECISION and artifact["bytes"] > budget else "",
            precision=artifact["precision"],
            length=100 * artifact["bytes"] / longest,
            budget=100 * budget / longest,
        )
        for artifact in manifest["artifacts"]
    )
    return html(
        "<figure>\n{bars}\n<figcaption>The line marks the budget of {budget} for each file but the reference. "
        "MB are 1,000,000 bytes.</figcaption>\n</figure>",
        bars=bars,
        budget=_mb(budget),
    )


def _agreement_sentence(manifest: Manifest) -> Html:
    held_back = manifest["held_back"]
    results = []
    heads = _heads(manifest)
    for head in heads:
        values = (f"{_format(f)} {shown(head, v[head.name])}" for f, v in held_back["agreement"].items())
        results.append(f"{_measure(head, heads).lower()}: {', '.join(values)}")
    return html(
        "<p>Against the float network on {images} held back from calibration, {results}.{few}</p>",
        images=counted(held_back["count"], "image"),
        results="; ".join(results),
        few=" So few images give a rough idea only." if held_back["count"] < FEW else "",
    )


def _agreement_cell(manifest: Manifest, artifact: Mapping[str, Any], head: OutputSpec) -> str:
    if artifact["precision"] == REFERENCE_PRECISION:
        return "reference"
    return shown(head, manifest["held_back"]["agreement"][artifact["format"]][head.name])


def _heads(manifest: Manifest) -> tuple[OutputSpec, ...]:
    return Spec.from_dict({"input": manifest["input"], "outputs": manifest["outputs"]}).outputs


def _measure(head: OutputSpec, heads: Sequence[OutputSpec]) -> str:
    """What agreement of a head is, as `edgefer.evaluation.quick_look.agreement` defines it."""
    name = "Same top class" if chooses_class(head) else "Same decisions" if decides(head) else "Correlation"
    return f"{name}, {head.name}" if len(heads) > 1 else name


def _labels(labels: Sequence[str]) -> Html:
    shown = [html("<li>{index} {label}</li>", index=index, label=label) for index, label in enumerate(labels)]
    if (more := len(labels) - LABELS_SHOWN) > 0:
        shown[LABELS_SHOWN:] = [html("<li>and {more:,} more in labels.txt</li>", more=more)]
    return join(shown)


def employment_notice(manifest: Manifest) -> Html:
    """What the law says about networks that read emotions; empty for others."""
    if all(head["kind"] in ("classes", "embedding", "other") for head in manifest["outputs"]):
        return html("")
    return html(
        "<footer>\n<p>In the European Union it is forbidden to infer emotions of people at work or in education "
        "(AI Act, Art. 5), and people who are exposed to emotion recognition must be told (Art. 50).</p>\n</footer>"
    )


def _written(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict) and "parameters_before" in value:
        return (
            f"{value['parameters_before']:,} parameters became {value['parameters']:,}, learned again on "
            f"{counted(value['images'], 'image')} in {counted(value['learned_steps'], 'step')}; kernels of "
            f"fewer taps, and gates that are gone: {value.get('plainer', 0)}"
        )
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:.1%}" for name, share in value.items())
    if value is None:
        return "not known"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _format(format: str) -> str:
    return _FORMATS.get(format, format)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
