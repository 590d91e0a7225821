from pathlib import Path

import pytest

from edgefer.errors import InputError
from edgefer.sweeping.request import EXAMPLE, Limits, read_request


def write(folder, text):
    (folder / "sweep.toml").write_text(text)
    return folder / "sweep.toml"


def test_the_example_is_read_and_every_combination_is_tried(tmp_path):
    (tmp_path / "faces.npz").write_bytes(b"")
    request = read_request(write(tmp_path, EXAMPLE))
    assert [network.name for network in request.networks] == ["fer_b0"]
    assert [(each["effort"], each["mixed"]) for each in request.options] == [
        ("fast", False),
        ("fast", True),
        ("balanced", False),
        ("balanced", True),
    ]
    assert {each["calibration"] for each in request.options} == {str(tmp_path / "faces.npz")}
    assert request.evaluations == {"public": tmp_path / "fer2013_public.npz"}
    assert request.limits == Limits(max_drop=1.0, budget=8_000_000, latency_ms=10.0)
    assert (request.devices, request.frames, request.seconds) == (("pi5",), 1024, 10.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("[[networks]]", "[[network]]"), "the file says 'network'; known are"),
        (("effort =", "efort ="), "[options] says 'efort'"),
        (('"fast", "balanced"', '"quick"'), "'quick' is none of fast"),
        (("[false, true]", '["yes"]'), "'yes' is neither true nor false"),
        (("[false, true]", "[]"), "option mixed has no value"),
        (('"8MB"', '"much"'), "'much' is not a size"),
        (('model = "fer_b0.onnx"', 'name = "a"'), "model is missing"),
        (('model = "fer_b0.onnx"', 'model = "m.onnx"\nname = "../a"'), "'../a' is no name"),
        (('public = "fer2013_public.npz"', ""), "an evaluation are needed"),
        (('model = "fer_b0.onnx"', 'model = "a.onnx"\n[[networks]]\nmodel = "b/a.onnx"'), "two networks are named a"),
    ],
)
def test_what_is_no_request_is_named_with_an_example(tmp_path, change, told):
    assert change[0] in EXAMPLE
    with pytest.raises(InputError) as caught:
        read_request(write(tmp_path, EXAMPLE.replace(*change)))
    assert caught.value.message.startswith(str(Path(tmp_path / "sweep.toml"))) and told in caught.value.message
