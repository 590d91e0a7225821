"""Where a bundle comes from: the part of its manifest that a package's papers tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgefer.bundle import MANIFEST, Bundle
from edgefer.errors import InputError


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from.

    Attributes:
        source: file that was converted.
        source_sha256: hex digest of it.
        family: converter that read it.
        created: when, ISO 8601.
        version: of the edgefer that converted it.
        tools: versions of the libraries that took part.
        calibration: name of the images that it was calibrated on.
        calibration_sha256: hex digest of them.
        calibration_count: how many they are.
        scheme: how it was quantized.
        parameters: that the artifacts have, without channels that were removed or left out.
        shrunk: of what was removed to keep the bounds, as the manifest has it; empty where nothing was.
        learned_steps: for how long weights were learned, before and after they became integers.
    """

    source: str
    source_sha256: str
    family: str
    created: str
    version: str
    tools: Mapping[str, str]
    calibration: str
    calibration_sha256: str
    calibration_count: int
    scheme: str
    parameters: int
    shrunk: Mapping[str, Any]
    learned_steps: int

    @classmethod
    def of(cls, bundle: Bundle) -> Provenance:
        """Read it from the manifest.

        Raises:
            InputError: the manifest does not tell it.
        """
        manifest = bundle.manifest
        try:
            quantization = manifest["quantization"]
            shrunk = quantization.get("shrunk", {})
            return cls(
                source=str(manifest["source"]["file"]),
                source_sha256=str(manifest["source"]["sha256"]),
                family=str(manifest["source"]["family"]),
                created=str(manifest["created"]),
                version=str(manifest["edgefer_version"]),
                tools={str(tool): str(version) for tool, version in manifest["tools"].items()},
                calibration=str(manifest["calibration"]["source"]),
                calibration_sha256=str(manifest["calibration"]["sha256"]),
                calibration_count=int(manifest["calibration"]["count"]),
                scheme=str(quantization["scheme"]),
                parameters=int({**quantization, **shrunk}["parameters"]) - int(quantization.get("left_out", 0)),
                shrunk=shrunk,
                learned_steps=int(quantization.get("learned_steps", 0)) + int(shrunk.get("learned_steps", 0)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{bundle.path / MANIFEST}: does not tell where the bundle comes from: {error}", remedy="Convert again."
            ) from error
