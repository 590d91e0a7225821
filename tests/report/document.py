"""A bundle's manifest to report on, and a reader of the report."""

from hashlib import sha256
from html.parser import HTMLParser
from typing import Any


def digest(of: str) -> str:
    return sha256(of.encode()).hexdigest()


def artifact(file: str, format: str, precision: str, size: int) -> dict[str, Any]:
    ops = {"int8": 238, "float": 6} if precision == "int8" else {"int8": 0, "float": 244}
    return {
        "file": file,
        "format": format,
        "precision": precision,
        "bytes": size,
        "sha256": digest(file),
        "ops": ops,
        "macs": 31_200_000,
    }


MANIFEST: dict[str, Any] = {
    "schema": "edgefer.bundle/1",
    "name": "faces",
    "edgefer_version": "0.1.0",
    "created": "2001-02-03T04:05:06Z",
    "source": {"file": "faces.pt", "sha256": digest("source"), "family": "efficientnet"},
    "input": {
        "size": [64, 48],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.5, 0.5, 0.25],
        "color": "BGR",
        "resize": "bicubic",
        "fit": "crop",
        "crop_fraction": 0.875,
    },
    "outputs": [
        {"name": "expression", "kind": "expression", "labels": ["angry", "<happy>"], "activation": "softmax"},
    ],
    "artifacts": [
        artifact("faces_int8.tflite", "tflite", "int8", 4_883_280),
        artifact("faces_int8.onnx", "onnx", "int8", 5_128_114),
        artifact("faces_fp32.onnx", "onnx", "float32", 16_011_223),
    ],
    "budget_bytes": 8_000_000,
    "calibration": {
        "source": "set.zip",
        "count": 392,
        "skipped": 0,
        "sha256": digest("calibration"),
        "halves_sqnr_db": [22.4, 23.04],
        "suffices": True,
    },
    "held_back": {
        "source": "set.zip",
        "count": 98,
        "skipped": 0,
        "sha256": digest("held back"),
        "agreement": {"tflite": {"expression": 0.93877}, "onnx": {"expression": 0.92857}},
    },
    "quantization": {
        "learned_steps": 0,
        "scheme": "full int8",
        "silu": 33,
        "parameters": 4_016_515,
        "new_fact": "kept",
    },
    "tools": {"numpy": "2.4.6", "onnx": "1.23.2"},
}


def point(**changes: Any) -> dict[str, Any]:
    full = {"float": [], "int4": [], "bytes": 5_128_114, "sqnr_db": 14.0, "drop": 2.0, "latency": 1.0, "chosen": False}
    return {**full, **changes}


def solution(*points: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a solver found: three points by default, the middle one chosen."""
    found = points or (
        point(),
        point(float=["stem"], sqnr_db=20.0, drop=0.8, latency=1.1, chosen=True),
        point(float=["stem", "neck"], sqnr_db=23.5, drop=0.3, latency=1.25),
    )
    bounds = {"bytes_over": 0, "drop_over": 0.0, "max_drop": 1.0, "budget_bytes": 8_000_000, "max_latency": 1.19}
    bounds["costs_of"] = "a board"
    return {"points": list(found), **bounds, **changes}


VOID = {"meta", "link", "br", "img"}


class Document(HTMLParser):
    """Visible text, and a check that every element is closed where it should be."""

    def __init__(self, report: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(report)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
