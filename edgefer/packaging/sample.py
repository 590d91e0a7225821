"""The integration samples of a package: which there are, and which fit the artifacts that it holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Sample:
    """Code that loads an artifact, feeds it a face crop and passes the golden tests.

    Attributes:
        platform: where it runs.
        folder: in the package, and beside this file.
        formats: artifacts of which it needs one.
        needs: what a developer installs for it.
        integers: whether it can feed networks that take integers.
    """

    platform: str
    folder: str
    formats: tuple[str, ...]
    needs: str
    integers: bool = True

    def files(self) -> dict[str, bytes]:
        """Contents by path in the package."""
        folder = files(__package__).joinpath(self.folder)
        found = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.name)
        return {f"{self.folder}/{file.name}": file.read_bytes() for file in found}


SAMPLES = (
    Sample("Python", "samples/python", ("tflite", "onnx"), "ai-edge-litert or onnxruntime, and Pillow"),
    Sample("Android", "samples/kotlin", ("tflite",), "LiteRT"),
    Sample("iOS", "samples/swift", ("tflite",), "TensorFlow Lite's Swift library", integers=False),
    Sample("C++", "samples/cpp", ("onnx",), "ONNX Runtime, CMake"),
    Sample("browser", "browser", ("onnx",), "onnxruntime-web"),
)


def samples_for(formats: Collection[str], *, integers: bool = False) -> list[Sample]:
    """The samples that can run one of the formats, of networks that take `integers` where they do."""
    able = [sample for sample in SAMPLES if sample.integers or not integers]
    return [sample for sample in able if not set(sample.formats).isdisjoint(formats)]
