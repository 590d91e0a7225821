"""The preprocessing contract: what an app must feed the artifacts, and what it gets, in words and as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from typing import Any

from edgefer.bundle import Bundle
from edgefer.packaging.markdown import code, plain, table
from edgefer.spec import CropSpec, InputSpec, OutputSpec

SCHEMA = "edgefer.preprocessing/1"


def contract_document(bundle: Bundle) -> dict[str, Any]:
    """The contract as data, schema `edgefer.preprocessing/1`."""
    height, width = bundle.spec.input.size
    clip = [bundle.spec.input.frames] if bundle.spec.input.frames is not None else []
    states = [
        {"name": s.name, "input": s.fed, "output": s.returned, "shape": list(s.shape), "dtype": "float32"}
        for s in bundle.spec.states
    ]
    integers = _integers(bundle)
    return {
        "schema": SCHEMA,
        "name": bundle.name,
        "artifacts": {a.format: f"models/{a.file}" for a in bundle.artifacts if not a.is_reference},
        "input": {
            "shape": [1, *clip, height, width, 3],
            **({"batch": list(_batched(bundle))} if _batched(bundle) else {}),
            "layout": "NTHWC" if clip else "NHWC",
            "dtype": "uint8",
            "color": "RGB",
            "range": [0, 255],
            "normalisation": "none: the artifacts normalise inside",
            "resize": bundle.spec.input.resize,
            "antialias": bundle.spec.input.resize != "nearest",
            "fit": bundle.spec.input.fit,
            "crop_fraction": bundle.spec.input.crop_fraction,
            "face_crop": asdict(bundle.spec.input.crop) if bundle.spec.input.crop else None,
        },
        "outputs": [
            {
                "name": output.name,
                "kind": output.kind,
                "shape": [1, len(output.labels)],
                "dtype": "integer" if integers else "float32",
                "labels": list(output.labels),
                "values": _values(output),
                **({"thresholds": list(output.thresholds)} if output.thresholds else {}),
            }
            for output in bundle.spec.outputs
        ],
        **({"states": states} if states else {}),
        **({"integers": integers} if integers else {}),
    }


def _batched(bundle: Bundle) -> tuple[str, ...]:
    """Formats of artifacts that take any number of images at once."""
    return tuple(a.format for a in bundle.artifacts if a.batch == "dynamic" and not a.is_reference)


def _integers(bundle: Bundle) -> dict[str, Any]:
    """How each artifact stores its input and outputs, by format, where they are integers."""
    return {a.format: {name: dict(end) for name, end in a.io.items()} for a in bundle.artifacts if a.io}


def contract_json(bundle: Bundle) -> bytes:
    """preprocessing.json."""
    return (json.dumps(contract_document(bundle), indent=2, ensure_ascii=False) + "\n").encode()


def contract_text(bundle: Bundle, video: str = "") -> bytes:
    """PREPROCESSING.md: the same for people, with each platform's own way to do it, and what to do with `video`."""
    spec = bundle.spec.input
    height, width = spec.size
    outputs = table(
        ("output", "shape", "values", "labels"),
        ((code(o.name), f"(1, {len(o.labels)})", _values(o), plain(", ".join(o.labels))) for o in bundle.spec.outputs),
    )
    return _TEXT.format(
        name=plain(bundle.name),
        shape=", ".join(map(str, contract_document(bundle)["input"]["shape"])),
        height=height,
        width=width,
        bytes=prod(contract_document(bundle)["input"]["shape"]),
        batch=" The ONNX file takes any number of images at once, (N, ...)." if _batched(bundle) else "",
        stored=" TFLite takes every pixel less 128, as int8: see Integers." if "tflite" in _integers(bundle) else "",
        crop=_crop(spec.crop),
        fit=_fit(spec),
        resize=_RESIZE[spec.resize],
        platforms=_platforms(spec),
        outputs=outputs,
        numbers="Integers" if _integers(bundle) else "float32",
        integers=_integers_text(bundle),
        frames=_frames(bundle),
        video=video,
    ).encode()


def _frames(bundle: Bundle) -> str:
    """What is done from frame to frame, where the network looks at more than one."""
    spec = bundle.spec
    if spec.input.frames is not None:
        return _CLIPS.format(frames=spec.input.frames)
    if not spec.states:
        return ""
    rows = ((code(s.fed), code(s.returned), f"({', '.join(map(str, s.shape))})") for s in spec.states)
    return _STATES.format(states=table(("input", "output", "shape, float32"), rows))


def _integers_text(bundle: Bundle) -> str:
    """What integers stand for, where artifacts take and return some."""
    stored = _integers(bundle)
    if not stored:
        return ""
    rows = [
        (format, code(name), end["dtype"], f"{end['scale']:g}", str(end["zero_point"]))
        for format, ends in stored.items()
        for name, end in ends.items()
    ]
    return _INTEGERS.format(integers=table(("file", "tensor", "type", "scale", "zero point"), rows))


def _values(output: OutputSpec) -> str:
    if output.activation == "softmax":
        return "probabilities that add up to 1"
    if output.activation == "sigmoid":
        return "a probability each"
    if output.activation == "tanh" or output.kind == "valence_arousal":
        return "from -1 to 1"
    return "as the network computes them"


def _crop(crop: CropSpec | None) -> str:
    if crop is None:
        return "the box of a face detector, with a margin like that of the images the network was trained on"
    detector = f" of {plain(crop.detector)}" if crop.detector else " of a face detector"
    if crop.align == "five_points":
        return f"the face, turned and scaled so that the points{detector} lie as in ArcFace's training data"
    margin = f"and {100 * crop.margin:g} % of its width and height more on each side" if crop.margin else "exactly"
    square = ", made square about its middle by its longer side" if crop.square else ""
    level = ", turned about its middle until the eyes are level" if crop.align == "eyes" else ""
    return f"the box{detector}, {margin}{square}{level}. Another margin costs more accuracy than int8 does"


def _fit(spec: InputSpec) -> str:
    height, width = spec.size
    if spec.fit == "stretch":
        return f"Resize the crop to {width} wide and {height} high; do not keep its aspect ratio"
    tall, wide = (int(side / spec.crop_fraction) for side in spec.size)
    covered = f"Scale the crop until it covers {wide} x {tall}, keeping its aspect ratio"
    return f"{covered}, and cut out the middle {width} x {height}"


def _platforms(spec: InputSpec) -> str:
    size = f"{spec.size[1]}, {spec.size[0]}"
    pillow = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "area": "BOX", "nearest": "NEAREST"}[spec.resize]
    changes = [
        *([f"its `weight` is bilinear: make it {spec.resize}"] if spec.resize != "bilinear" else []),
        *(["it stretches: scale and cut as above"] if spec.fit != "stretch" else []),
    ]
    own = "; ".join(changes) or "within one level"
    rows = {
        "Python": f"`image.resize(({size}), Image.Resampling.{pillow})` of Pillow: equal",
        "browser": "`toPixels` in `browser/expression.mjs`: within one level. A canvas smooths as it likes",
        "C++": f"`resize` in `samples/cpp/expression.cpp`: {own}. OpenCV's INTER_LINEAR skips pixels",
        "Android": f"`resize` in `samples/kotlin/Expression.kt`: {own}. `Bitmap.createScaledBitmap` skips pixels",
        "iOS": f"`resize` in `samples/swift/Expression.swift`: {own}. Core Graphics smooths as it likes",
    }
    return "".join(f"| {platform} | {way} |\n" for platform, way in rows.items())


_RESIZE: Mapping[str, str] = {
    "bilinear": "a triangle filter that is widened by the ratio where the image shrinks, so that every pixel counts\n"
    "   (what Pillow calls BILINEAR, and `antialias=True` elsewhere)",
    "bicubic": "a cubic filter (a = -0.5) that is widened by the ratio where the image shrinks, so that every\n"
    "   pixel counts (what Pillow calls BICUBIC)",
    "area": "the mean over exactly the area that a pixel covers (what Pillow calls BOX, and OpenCV INTER_AREA)",
    "nearest": "the pixel under the centre",
}

_INTEGERS = """\
## Integers

The files are for accelerators that have nothing but integers: pixels and values go in and out as integers, each of
which stands for `scale * (integer - zero point)`. So TFLite is fed every pixel less 128, as int8, and ONNX the pixels
as they are; the largest integer of an output is its answer, as the largest value would be.

{integers}"""

_STATES = """\
## From frame to frame

The network remembers: it is shown every frame of one face, in their order, and what it returns of its memory is fed
with the next frame. Where a sequence begins (another face, another video, a face that was long out of sight) feed
zeros; the samples' `reset` does so.

{states}
`golden/expected.tsv` is one sequence for each artifact: zeros before its first line, and carried on from line to line.

"""

_CLIPS = """\
## From frame to frame

The network reads clips: the last {frames} frames of one face, in their order, in one tensor. Until there are so many,
the first stands for those before it; the samples keep the frames, and `reset` where a sequence begins (another face,
another video). `golden/NAME.rgb` is one frame, and `golden/expected.tsv` one sequence for each artifact, from its first
line on.

"""

_TEXT = """\
# {name}: what to feed it, and what comes out

`preprocessing.json` says the same as data, and `golden/` proves that an app does it.

## Input

One tensor: **uint8, ({shape}), RGB, 0 to 255**: {bytes:,} bytes, row by row, red first.{batch}{stored}

1. Cut out the face: {crop}.
2. Turn it upright: apply the EXIF orientation, or the camera's rotation.
3. Make it RGB, without alpha. A gray image becomes three equal channels. Android's `Bitmap.getPixels` gives ARGB words,
   OpenCV and many cameras BGR.
4. {fit}.
   The filter is {resize}.
5. **Do not normalise.** No division by 255, no mean, no standard deviation: the artifacts do that inside.

| on | resize with |
|---|---|
{platforms}
## Output

{numbers}, with the activation applied: no softmax is needed. `labels.txt` names the values of all outputs, one after
the other.

{outputs}{integers}{frames}{video}## Prove it

`golden/expected.tsv` has a line for each drawing and artifact: the tolerance, then a value for each label.

1. Feed `golden/NAME.rgb` as it is. Every value must be within the tolerance: the runtime is set up right.
2. Decode and resize `golden/NAME.png` as the app does. The bytes must be those of `NAME.rgb`, or nearly: a mean
   difference above 2 levels means another filter, swapped channels or a missing rotation.
3. For video, go through `golden/traces.json`: for each of `crops`, the rectangle that is cut out; for each frame of a
   trace, the scores that the network would give (none: no face), what is asked then, at which level, and the means.
"""
