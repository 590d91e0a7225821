"""Faces in the browser are cut out and followed as edgefer does it; in Node."""

import base64
import json
import shutil
import subprocess
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.faces.crop import cut_out
from edgefer.faces.face import Face
from edgefer.faces.follow import Follower
from edgefer.spec import CropSpec

POINTS = {"right_eye": (52.0, 40.0), "left_eye": (76.0, 47.0), "nose": (61.0, 57.0), "mouth": (59.0, 66.0)}
FACE = Face(35.3, 22.8, 50.4, 61.7, 0.9, POINTS)
AT_THE_EDGE = Face(-9.2, 60.1, 40.5, 44.5)
CROPS = (
    CropSpec(),
    CropSpec(0.1),
    CropSpec(0.25, square=True),
    CropSpec(0.1, align="eyes"),
    CropSpec(align="five_points"),
)


@pytest.fixture(scope="module")
def in_node():
    if shutil.which("node") is None:
        pytest.skip("needs node")
    stand_in = Path(__file__).with_name("stand_ins") / "faces.mjs"

    def call(image, cuts=(), frames=()):
        rgba = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
        plain = [{"face": asdict(face), "crop": crop and asdict(crop)} for face, crop in cuts]
        times = [{"time": time, "faces": [asdict(face) for face in faces]} for time, faces in frames]
        picture = {"width": image.shape[1], "height": image.shape[0], "rgba": base64.b64encode(rgba).decode()}
        request = json.dumps({"image": picture, "cuts": plain, "frames": times})
        command = ["node", str(stand_in), str(files("edgefer.packaging"))]
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)

    return call


@pytest.fixture(scope="module")
def image():
    """Colours that change smoothly, so that a shift by a pixel shows and another rounding of one does not."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (128, 96), interpolation=cv2.INTER_CUBIC)


def test_faces_are_cut_out_as_in_python(in_node, image):
    cuts = [(face, crop) for crop in CROPS for face in (FACE, AT_THE_EDGE)] + [(FACE, None)]
    for found, (face, crop) in zip(in_node(image, cuts)["crops"], cuts, strict=True):
        expected = cut_out(image, face, crop or CropSpec())
        pixels = np.frombuffer(base64.b64decode(found["rgba"]), np.uint8)
        pixels = pixels.reshape(found["height"], found["width"], 4)[:, :, :3]
        assert pixels.shape == expected.shape
        difference = np.abs(pixels.astype(int) - expected)
        assert difference.max() <= (0 if crop is None or crop.align == "none" or not face.points else 2), crop


def test_faces_are_followed_as_in_python(in_node, image):
    rng = np.random.default_rng(1)
    frames = []
    for index in range(60):
        walking = Face(10 + 3.0 * index, 20.0, 40.0, 40.0)
        still = Face(100 + rng.normal(), 90 + rng.normal(), 50.0, 50.0)
        leaping = Face(20.0 if index < 30 else 260.0, 150.0, 30.0, 30.0)
        faces = [still, walking, leaping] if index % 3 else [leaping, still]
        hidden = 20 <= index < 25 or 40 <= index < 55  # for half a second, and for longer than it is remembered
        frames.append((index * (0.1 if index < 40 else 0.2), [] if hidden else faces))
    follower = Follower()
    expected = [[identity for identity, _ in follower.found(faces, time)] for time, faces in frames]
    assert in_node(image, frames=frames)["identities"] == expected
    assert max(identity for frame in expected for identity in frame) > 4
