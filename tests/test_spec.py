from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.spec import EXAMPLE, CropSpec, InputSpec, OutputSpec, Spec, StateSpec

INPUT = {"size": [64, 48], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
OUTPUT = {"name": "mood", "kind": "expression", "labels": ["sad", "happy"]}
STATE = {"name": "h", "input": "h_in", "output": "h_out", "shape": [1, 6]}

numbers = st.floats(1e-3, 4)
triples = st.tuples(numbers, numbers, numbers)
names = st.text(min_size=1).filter(str.isprintable)
labels = st.lists(names, min_size=1, max_size=5, unique=True).map(tuple)
heads = st.builds(
    OutputSpec,
    names,
    st.sampled_from(["expression", "valence_arousal", "action_units", "classes", "other"]),
    labels,
    st.sampled_from(["none", "softmax", "sigmoid", "tanh"]),
    st.text(),
)
inputs = st.builds(
    InputSpec,
    st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    triples,
    triples,
    st.sampled_from(["RGB", "BGR"]),
    st.sampled_from(["bilinear", "bicubic", "area", "nearest"]),
    st.sampled_from(["stretch", "crop"]),
    st.floats(0.1, 1),
    st.none()
    | st.builds(
        CropSpec, st.floats(-0.4, 4), st.booleans(), st.sampled_from(["none", "eyes", "five_points"]), st.just("YuNet")
    ),
    st.sampled_from([None, (0.25, 0.5, 0.25)]),
    st.sampled_from(["", "NCHW", "NHWC"]),
    st.none() | st.integers(1, 64),
)
gray = st.builds(InputSpec, st.just((48, 48)), st.tuples(numbers), st.tuples(numbers), st.just("GRAY"))
states = st.builds(
    lambda name, *more: StateSpec(name, f"{name} before", f"{name} after", *more),
    names,
    st.lists(st.integers(1, 9), min_size=1).map(tuple),
    st.floats(-1, 1),
)


@given(
    inputs | gray,
    st.lists(heads | states, min_size=1, max_size=4, unique_by=lambda part: part.name).filter(
        lambda parts: any(isinstance(part, OutputSpec) for part in parts)
    ),
)
def test_a_spec_survives_plain_data(input, parts):
    outputs, recurrent = (tuple(p for p in parts if isinstance(p, kind)) for kind in (OutputSpec, StateSpec))
    spec = Spec(replace(input, frames=None) if recurrent else input, outputs, recurrent)
    assert Spec.from_dict(spec.to_dict()) == spec


def test_gray_is_one_channel_and_takes_three_equal_values_for_it():
    spec = Spec.from_dict(document({"color": "GRAY"}))
    assert (spec.input.mean, spec.input.std, spec.input.planes) == ((0.5,), (0.5,), ((0.299, 0.587, 0.114),))
    assert Spec.from_dict(document({"color": "GRAY", "gray": [0, 1, 0]})).input.planes == ((0, 1, 0),)


def test_an_embedding_needs_no_labels():
    head = {"name": "face", "kind": "embedding"}
    assert Spec.from_dict({"input": INPUT, "outputs": [head]}).outputs[0].labels == ()


def test_the_example_that_errors_show_is_valid(tmp_path):
    path = tmp_path / "example.spec.toml"
    path.write_text(EXAMPLE)
    spec = Spec.from_toml(path)
    assert spec.input.size == (224, 224)
    assert spec.outputs[0].labels[3] == "happy"


def document(input=None, output=None):
    return {"input": {**INPUT, **(input or {})}, "outputs": [{**OUTPUT, **(output or {})}]}


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([], "needs an \\[input\\] table"),
        ({}, "needs an \\[input\\] table"),
        ({"input": INPUT}, "needs an \\[input\\] table"),
        ({"input": INPUT, "outputs": []}, "at least one \\[\\[outputs\\]\\] table"),
        ({"input": INPUT, "outputs": ["mood"]}, "outputs\\[0\\] must be a table"),
        ({"input": {}, "outputs": [OUTPUT]}, "input lacks size and mean and std"),
        (document({"sized": 3}), "input has unknown key 'sized'"),
        (document({"size": [64]}), "input.size must be \\[height, width\\]"),
        (document({"size": [64, 64, 3]}), "input.size must be \\[height, width\\]"),
        (document({"size": [64.0, 64.0]}), "input.size must be a list of numbers"),
        (document({"size": 64}), "input.size must be a list"),
        (document({"size": [0, 64]}), "each 1 to 4096"),
        (document({"size": [64, 5000]}), "each 1 to 4096"),
        (document({"mean": [0.5]}), "three values each"),
        (document({"color": "GRAY", "mean": [0.4, 0.5, 0.6]}), "one value each, as color is GRAY"),
        (document({"gray": [0.5, 0.5]}), "input.gray must be what red, green and blue count"),
        (document({"gray": [0.5, 0.5, 0.5]}), "which add up to 1"),
        (document({"layout": "NWHC"}), "input.layout is 'NWHC'; choose one of NCHW, NHWC"),
        (document({"frames": 0}), "input.frames must be 1 to 4096"),
        (document({"frames": 1.5}), "input.frames must be a whole number"),
        ({**document(), "states": {}}, "states must be"),
        ({**document(), "states": [{**STATE, "name": "mood"}]}, "every output and state needs a name of its own"),
        ({**document(), "states": [{**STATE, "shape": []}]}, "state 'h': shape must be positive numbers"),
        ({**document(), "states": [{**STATE, "initial": float("nan")}]}, "state 'h': initial must be finite"),
        ({**document(), "states": [STATE, {**STATE, "name": "c"}]}, "every state needs an input of its own"),
        (
            {**document(), "states": [STATE, {**STATE, "name": "h_in"}]},
            "every output and state needs a name of its own",
        ),
        ({**document({"frames": 8}), "states": [STATE]}, "carries states from frame to frame or reads clips"),
        ({**document(), "states": [{"name": "h"}]}, "states\\[0\\] lacks input and output and shape"),
        (document({"mean": [0.5, 0.5, float("nan")]}), "must be finite"),
        (document({"std": [0.5, 0.5, float("inf")]}), "must be finite"),
        (document({"std": [0.5, 0.5, 0]}), "input.std must be positive"),
        (document({"mean": [123.7, 116.3, 103.5]}), "divide those of pixels up to 255 by 255"),
        (document({"std": [58.4, 57.1, 57.4]}), "divide those of pixels up to 255 by 255"),
        (document({"mean": [True, 0, 0]}), "input.mean must be a list of numbers"),
        (document({"color": "GRB"}), "input.color is 'GRB'; choose one of RGB, BGR, GRAY"),
        (document({"crop_fraction": 0}), "input.crop_fraction must be in"),
        (document({"crop_fraction": "half"}), "input.crop_fraction must be a number"),
        (document({"crop": {"margin": 5}}), "input.crop.margin must be in"),
        (document({"crop": {"margin": "half"}}), "input.crop.margin must be a number"),
        (document({"crop": {"square": 1}}), "input.crop.square must be a boolean"),
        (document({"crop": {"align": "nose"}}), "input.crop.align is 'nose'; choose one of none, eyes, five_points"),
        (document({"crop": {"border": 1}}), "input.crop has unknown key 'border'"),
        (document({"crop": 0.1}), "input.crop must be a table"),
        ({"input": INPUT, "outputs": [{"name": "va", "kind": "valence_arousal"}]}, "'va' needs labels"),
        (document(output={"name": ""}), "every output and state needs a name of its own"),
        (document(output={"labels": []}), "'mood' needs labels"),
        (document(output={"labels": ["a", "a"]}), "'mood' repeats a label"),
        (document(output={"labels": "ab"}), "labels must be a list of strings"),
        (document(output={"labels": [1, 2]}), "labels must be a list of strings"),
        (document(output={"kind": ["expression"]}), "kind is \\['expression'\\]; choose one of"),
        (document(output={"columns": [0, 3]}), "columns 0..3 do not hold 2 labels"),
        (document(output={"columns": [-1, 1]}), "columns -1..1 do not hold 2 labels"),
        (document(output={"columns": [0, 1, 2]}), "columns must be \\[first, past_last\\]"),
        (document(output={"tensor": 3}), "tensor must be a string"),
        ({"input": INPUT, "outputs": [OUTPUT, OUTPUT]}, "every output and state needs a name of its own"),
    ],
)
def test_what_is_wrong_with_a_spec_is_said_with_a_complete_example(broken, message):
    with pytest.raises(InputError, match=f"^net.spec.toml: .*{message}") as raised:
        Spec.from_dict(broken, "net.spec.toml")
    assert EXAMPLE in raised.value.remedy


@pytest.mark.parametrize("content", [b"[input", b"\xff\xfe", None])
def test_a_file_that_is_no_toml_is_named(tmp_path, content):
    path = tmp_path / "net.spec.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path.name}: (not a TOML file: .|cannot be read: No such file)"):
        Spec.from_toml(Path(path))


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred"])
def test_names_and_labels_must_be_printable(text):
    for output in ({**OUTPUT, "name": text}, {**OUTPUT, "labels": ["sad", text]}):
        with pytest.raises(InputError, match="must be printable"):
            Spec.from_dict({"input": INPUT, "outputs": [output]})
