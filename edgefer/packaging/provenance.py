"""Where a bundle comes from: the part of its manifest that a package's papers tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        parameters: of the network.
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

    @classmethod
    def of(cls, bundle: Bundle) -> Provenance:
        """Read it from the manifest.

        Raises:
            InputError: the manifest does not tell it.
        """
        manifest = bundle.manifest
        try:
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
                scheme=str(manifest["quantization"]["scheme"]),
                parameters=int(manifest["quantization"]["parameters"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{bundle.path / MANIFEST}: does not tell where the bundle comes from: {error}", remedy="Convert again."
            ) from error
