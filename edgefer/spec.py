"""The Spec: what a network means, from the pixels it expects to the names of its outputs.

    [input]
    size = [64, 64]            # height, width
    color = "RGB"
    resize = "bilinear"
    mean = [0.5, 0.5, 0.5]     # of pixels scaled to [0, 1]
    std = [0.5, 0.5, 0.5]

    [[outputs]]
    name = "expression"
    kind = "expression"
    activation = "softmax"     # what the network itself returns are logits
    labels = ["angry", "happy"]

A Spec is never guessed: it comes with the network, from a sidecar TOML file, or from options.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError

Color: TypeAlias = Literal["RGB", "BGR", "GRAY"]
Layout: TypeAlias = Literal["", "NCHW", "NHWC"]
Resize: TypeAlias = Literal["bilinear", "bicubic", "area", "nearest"]
Fit: TypeAlias = Literal["stretch", "crop"]
Kind: TypeAlias = Literal["expression", "valence_arousal", "action_units", "classes", "embedding", "other"]
HeadActivation: TypeAlias = Literal["none", "softmax", "sigmoid", "tanh"]
Alignment: TypeAlias = Literal["none", "eyes", "five_points"]

INPUT = "image"
"""What artifacts call their input of pixels."""

METADATA_KEY = "edgefer.spec"
"""Where ONNX files carry their Spec as JSON: a key of `metadata_props`."""

ENDS_KEY = "edgefer.io"
"""Where ONNX files that take and return integers say how: `dtype`, `scale` and `zero_point` by name, as JSON."""

GRAY_WEIGHTS = (0.299, 0.587, 0.114)
"""What red, green and blue count for gray where a Spec does not say: ITU-R BT.601, as in Pillow and OpenCV."""

_LARGEST = 4.0  # mean or std; larger ones are of pixels up to 255
_WHITE = 1e-2  # what the weights of gray may sum up to beside 1

EXAMPLES = {
    "input": """\
[input]
size = [224, 224]            # height, width
color = "RGB"
resize = "bilinear"
mean = [0.485, 0.456, 0.406] # of pixels scaled to [0, 1]
std = [0.229, 0.224, 0.225]
""",
    "outputs": """\
[[outputs]]
name = "expression"
kind = "expression"
activation = "softmax"       # what the network itself returns are logits
labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
""",
}
"""How each table of a Spec is written."""

EXAMPLE = "\n".join(EXAMPLES.values())


@dataclass(frozen=True)
class CropSpec:
    """How faces were cut out of pictures in training.

    Attributes:
        margin: added on each side of a detector's box, as a share of its width and height.
        square: whether the shorter side was then made as long as the longer one.
        align: `none`; `eyes`: turned until they are level; `five_points`: eyes, nose and corners of the mouth brought
            to where ArcFace's training data has them, whatever margin and square say.
        detector: which detector's boxes these are, in words.
    """

    margin: float = 0.0
    square: bool = False
    align: Alignment = "none"
    detector: str = ""


@dataclass(frozen=True)
class InputSpec:
    """How pixels become the network's input.

    Attributes:
        size: height and width, in pixels.
        mean: subtracted from pixels scaled to [0, 1]; one per channel, in `color` order.
        std: divides what is left; one per channel.  A network that takes pixels up to 255 has mean 0 and std 1/255.
        color: channels that the network was trained with; `GRAY` is one channel.
        resize: interpolation used when an image has another size.
        fit: `stretch` resizes both sides; `crop` resizes the shorter side and cuts out the centre.
        crop_fraction: share of the resized image that `crop` keeps along the shorter side.
        crop: how faces were cut out, None where nothing is known of it.
        gray: what red, green and blue count for `GRAY`; `GRAY_WEIGHTS` when None.
        layout: order of the network's own axes; read off its file when empty.
        frames: length of the clip that the network reads, None for one that reads an image.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: Color = "RGB"
    resize: Resize = "bilinear"
    fit: Fit = "stretch"
    crop_fraction: float = 1.0
    crop: CropSpec | None = None
    gray: tuple[float, ...] | None = None
    layout: Layout = ""
    frames: int | None = None

    def __post_init__(self) -> None:
        if self.color == "GRAY":
            for name in ("mean", "std"):
                values = getattr(self, name)
                if len(values) == 3 and len(set(values)) == 1:  # as for three channels, which training repeats gray to
                    object.__setattr__(self, name, values[:1])

    @property
    def planes(self) -> tuple[tuple[float, float, float], ...]:
        """For each channel that the network reads, what red, green and blue count for it."""
        if self.color == "GRAY":
            red, green, blue = self.gray or GRAY_WEIGHTS
            return ((red, green, blue),)
        rgb = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        return rgb if self.color == "RGB" else rgb[::-1]


@dataclass(frozen=True)
class StateSpec:
    """What a recurrent network carries on from one step to the next.

    Attributes:
        name: what the artifacts call it.
        input: the network's input that takes it.
        output: the network's output that returns it.
        shape: of both, the batch of one included.
        initial: what each number of it is before the first step; artifacts add it themselves, and begin with zeros.
    """

    name: str
    input: str
    output: str
    shape: tuple[int, ...]
    initial: float = 0.0

    @property
    def fed(self) -> str:
        """What the artifacts call the input that takes it."""
        return f"{self.name}_in"

    def before_first(self) -> npt.NDArray[np.float32]:
        """What the network's own input is before the first step."""
        return np.full(self.shape, self.initial, np.float32)

    @property
    def returned(self) -> str:
        """What the artifacts call the output that returns it."""
        return f"{self.name}_out"


@dataclass(frozen=True)
class OutputSpec:
    """One head of the network.

    Attributes:
        name: what the artifacts call the output.
        kind: what the numbers mean, which decides how they are judged.
        labels: one per column; an embedding needs none, its columns are numbered.
        activation: what turns the network's own numbers into meanings; the artifacts apply it.
        tensor: the network's output that holds this head; when empty, its only one, or that of this name.
        columns: first and past-the-last column of that output, all when None.
        thresholds: from which value on each label counts as present, 0.5 when None.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    activation: HeadActivation = "none"
    tensor: str = ""
    columns: tuple[int, int] | None = None
    thresholds: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Spec:
    """Input, heads and states of a network.

    Raises:
        InputError: a value is out of range, or heads or states share a name.
    """

    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    states: tuple[StateSpec, ...] = ()

    def __post_init__(self) -> None:
        _check_input(self.input)
        _require(bool(self.outputs), "at least one [[outputs]] table is needed")
        names = [*(output.name for output in self.outputs), *(state.name for state in self.states)]
        names += [name for state in self.states for name in (state.fed, state.returned)]
        _require(all(names) and len(set(names)) == len(names), "every output and state needs a name of its own")
        for where in ("input", "output"):
            carried = [getattr(state, where) for state in self.states]
            _require(len(set(carried)) == len(carried), f"every state needs an {where} of its own")
        _require(not (self.states and self.input.frames), "a network carries states from frame to frame or reads clips")
        for output in self.outputs:
            _check_output(output)
        for state in self.states:
            _require(
                all(map(str.isprintable, (state.name, state.input, state.output))),
                f"state {state.name!r}: its names must be printable, and on one line",
            )
            _require(
                bool(state.shape) and all(side > 0 for side in state.shape),
                f"state {state.name!r}: shape must be positive numbers",
            )
            _require(isfinite(state.initial), f"state {state.name!r}: initial must be finite")

    @property
    def is_of_sequences(self) -> bool:
        """Whether an answer is of more than one image: of a clip, or of what came before."""
        return bool(self.states) or self.input.frames is not None

    @classmethod
    def from_dict(cls, document: dict[str, Any], where: str = "spec") -> Spec:
        """Build from plain data, as TOML and JSON give it.

        Raises:
            InputError: naming `where` and the key that is missing, unknown or of the wrong type.
        """
        try:
            tables = document.get("outputs") if isinstance(document, dict) else None
            if not isinstance(tables, list) or not isinstance(document.get("input"), dict):
                raise InputError("needs an [input] table and at least one [[outputs]] table")
            states = document.get("states", [])
            if not isinstance(states, list):
                raise InputError("states must be [[states]] tables")
            return cls(
                _record(InputSpec, document["input"], "input"),
                tuple(_record(OutputSpec, table, f"outputs[{index}]") for index, table in enumerate(tables)),
                tuple(_record(StateSpec, table, f"states[{index}]") for index, table in enumerate(states)),
            )
        except InputError as error:
            raise InputError(f"{where}: {error.message}", remedy=f"A complete example:\n\n{EXAMPLE}") from error

    @classmethod
    def from_toml(cls, path: Path) -> Spec:
        """Read a `.spec.toml` file."""
        return cls.from_dict(read_toml(path), str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back equal."""
        document = {"input": _plain(self.input), "outputs": [_plain(output) for output in self.outputs]}
        return document | ({"states": [_plain(state) for state in self.states]} if self.states else {})


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        InputError: it cannot be read or parsed.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error


_CHOICES: dict[str, tuple[str, ...]] = {
    "color": get_args(Color),
    "resize": get_args(Resize),
    "fit": get_args(Fit),
    "kind": get_args(Kind),
    "activation": get_args(HeadActivation),
    "align": get_args(Alignment),
    "layout": get_args(Layout),
}


_STRING: tuple[str, type | tuple[type, ...]] = ("string", str)
_SCALARS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "float": ("number", (int, float)),
    "int": ("whole number", int),
    "bool": ("boolean, true or false", bool),
}


def _record(cls: type[Any], table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table")
    known = {field.name: field for field in fields(cls)}
    if unknown := sorted(set(table) - set(known)):
        raise InputError(f"{where} has unknown key {unknown[0]!r} (known: {', '.join(known)})")
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in table]:
        raise InputError(f"{where} lacks {' and '.join(missing)}")
    return cls(**{key: _value(str(known[key].type), key, value, where) for key, value in table.items()})


def _value(annotation: str, key: str, value: Any, where: str) -> Any:
    if key in _CHOICES and value not in _CHOICES[key]:
        raise InputError(f"{where}.{key} is {value!r}; choose one of {', '.join(filter(None, _CHOICES[key]))}")
    if value is None and annotation.endswith(" | None"):
        return None
    annotation = annotation.removesuffix(" | None")
    if annotation.startswith("tuple"):
        item: type | tuple[type, ...] = str if "str" in annotation else int if "int" in annotation else (int, float)
        if not isinstance(value, list | tuple) or not all(
            isinstance(v, item) and not isinstance(v, bool) for v in value
        ):
            raise InputError(f"{where}.{key} must be a list of {'strings' if item is str else 'numbers'}")
        return tuple(float(v) if "float" in annotation else v for v in value)
    if annotation == "CropSpec":
        return _record(CropSpec, value, f"{where}.{key}")
    kind, expected = _SCALARS.get(annotation, _STRING)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise InputError(f"{where}.{key} must be a {kind}")
    return value


def _plain(record: Any) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        key: list(value) if isinstance(value, tuple) else _plain(value) if is_dataclass(value) else value
        for key, value in values.items()
        if value is not None and value != ""
    }


def _check_input(spec: InputSpec) -> None:
    _require(
        len(spec.size) == 2 and all(0 < side <= 4096 for side in spec.size),
        "input.size must be [height, width], each 1 to 4096",
    )
    gray = spec.gray if spec.gray is not None else GRAY_WEIGHTS
    _require(
        len(gray) == 3 and min(gray) >= 0 and abs(sum(gray) - 1) <= _WHITE,
        "input.gray must be what red, green and blue count, which add up to 1",
    )
    count = "one value each, as color is GRAY" if spec.color == "GRAY" else "three values each"
    _require(len(spec.mean) == len(spec.std) == len(spec.planes), f"input.mean and input.std need {count}")
    _require(all(map(isfinite, (*spec.mean, *spec.std))), "input.mean and input.std must be finite")
    _require(all(value > 0 for value in spec.std), "input.std must be positive")
    _require(
        max(map(abs, (*spec.mean, *spec.std))) <= _LARGEST,
        "input.mean and input.std are of pixels scaled to [0, 1]; divide those of pixels up to 255 by 255",
    )
    _require(0 < spec.crop_fraction <= 1, "input.crop_fraction must be in (0, 1]")
    crop = spec.crop
    _require(crop is None or -0.4 <= crop.margin <= 4, "input.crop.margin must be in [-0.4, 4], a share of the box")
    _require(crop is None or crop.detector.isprintable(), "input.crop.detector must be printable, and on one line")
    _require(spec.frames is None or 0 < spec.frames <= 4096, "input.frames must be 1 to 4096")


def _check_output(output: OutputSpec) -> None:
    named = f"output {output.name!r}"
    _require(bool(output.labels) or output.kind == "embedding", f"{named} needs labels, one per column")
    _require(
        all(map(str.isprintable, (output.name, *output.labels))),
        f"{named}: its name and labels must be printable, and on one line",
    )
    _require(len(set(output.labels)) == len(output.labels), f"{named} repeats a label")
    _require(
        output.thresholds is None or len(output.thresholds) == len(output.labels),
        f"{named}: thresholds must be one per label",
    )
    if output.columns is not None:
        _require(len(output.columns) == 2, f"{named}: columns must be [first, past_last]")
        start, stop = output.columns
        columns = len(output.labels) or max(stop - start, 1)
        _require(
            start >= 0 and stop - start == columns,
            f"{named}: columns {start}..{stop} do not hold {columns} labels",
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)
