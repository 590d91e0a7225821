from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefer.errors import InputError
from edgefer.spec import EXAMPLE, CropSpec, InputSpec, OutputSpec, Spec

INPUT = {"size": [64, 48], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
OUTPUT = {"name": "mood", "kind": "expression", "labels": ["sad", "happy"]}

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
)


@given(inputs, st.lists(heads, min_size=1, max_size=3, unique_by=lambda head: head.name))
def test_a_spec_survives_plain_data(input, outputs):
    spec = Spec(input, tuple(outputs))
    assert Spec.from_dict(spec.to_dict()) == spec


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
        (document({"mean": [0.5, 0.5, float("nan")]}), "must be finite"),
        (document({"std": [0.5, 0.5, float("inf")]}), "must be finite"),
        (document({"std": [0.5, 0.5, 0]}), "input.std must be positive"),
        (document({"mean": [123.7, 116.3, 103.5]}), "divide those of pixels up to 255 by 255"),
        (document({"std": [58.4, 57.1, 57.4]}), "divide those of pixels up to 255 by 255"),
        (document({"mean": [True, 0, 0]}), "input.mean must be a list of numbers"),
        (document({"color": "GRB"}), "input.color is 'GRB'; choose one of RGB, BGR"),
        (document({"crop_fraction": 0}), "input.crop_fraction must be in"),
        (document({"crop_fraction": "half"}), "input.crop_fraction must be a number"),
        (document({"crop": {"margin": 5}}), "input.crop.margin must be in"),
        (document({"crop": {"margin": "half"}}), "input.crop.margin must be a number"),
        (document({"crop": {"square": 1}}), "input.crop.square must be a boolean"),
        (document({"crop": {"align": "nose"}}), "input.crop.align is 'nose'; choose one of none, eyes, five_points"),
        (document({"crop": {"border": 1}}), "input.crop has unknown key 'border'"),
        (document({"crop": 0.1}), "input.crop must be a table"),
        ({"input": INPUT, "outputs": [{"name": "va", "kind": "valence_arousal"}]}, "outputs\\[0\\] lacks labels"),
        (document(output={"name": ""}), "every output needs a name of its own"),
        (document(output={"labels": []}), "'mood' needs labels"),
        (document(output={"labels": ["a", "a"]}), "'mood' repeats a label"),
        (document(output={"labels": "ab"}), "labels must be a list of strings"),
        (document(output={"labels": [1, 2]}), "labels must be a list of strings"),
        (document(output={"kind": ["expression"]}), "kind is \\['expression'\\]; choose one of"),
        (document(output={"columns": [0, 3]}), "columns 0..3 do not hold 2 labels"),
        (document(output={"columns": [-1, 1]}), "columns -1..1 do not hold 2 labels"),
        (document(output={"columns": [0, 1, 2]}), "columns must be \\[first, past_last\\]"),
        (document(output={"tensor": 3}), "tensor must be a string"),
        ({"input": INPUT, "outputs": [OUTPUT, OUTPUT]}, "every output needs a name of its own"),
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
