"""The bill of materials, CycloneDX 1.6: the networks as machine-learning models, and the code that ships with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from edgefer.bundle import Artifact, Bundle
from edgefer.packaging.figures import METRICS, Evidence
from edgefer.packaging.interface import contract_document
from edgefer.packaging.provenance import Provenance
from edgefer.spec import INPUT


@dataclass(frozen=True)
class Library:
    """Somebody else's software inside the package.

    Attributes:
        name: as its registry knows it.
        version: of the registry.
        purl: package URL.
        licence: SPDX identifier.
        files: contents by path in the package.
        kind: of component, as CycloneDX names them.
    """

    name: str
    version: str
    purl: str
    licence: str
    files: Mapping[str, bytes]
    kind: str = "library"


def bill_of_materials(
    bundle: Bundle, provenance: Provenance, evidence: Evidence | None, licence: str, libraries: Sequence[Library]
) -> bytes:
    """sbom.cdx.json; equal inputs give equal bytes."""
    models = [
        _model(bundle, artifact, provenance, evidence, licence)
        for artifact in bundle.artifacts
        if not artifact.is_reference
    ]
    components = [*models, *map(_library, libraries)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(components, sort_keys=True))}",
        "version": 1,
        "metadata": {
            "timestamp": provenance.created,
            "tools": {"components": [{"type": "application", "name": "edgefer", "version": provenance.version}]},
            "component": {"type": "machine-learning-model", "name": bundle.name, "bom-ref": "package"},
        },
        "components": components,
        "dependencies": [{"ref": "package", "dependsOn": [component["bom-ref"] for component in components]}],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _model(
    bundle: Bundle, artifact: Artifact, provenance: Provenance, evidence: Evidence | None, licence: str
) -> dict[str, Any]:
    shape = contract_document(bundle)["input"]["shape"]
    ancestor = {
        "type": "machine-learning-model",
        "name": provenance.source,
        "hashes": [{"alg": "SHA-256", "content": provenance.source_sha256}],
    }
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": artifact.file,
        "name": artifact.file,
        "hashes": [{"alg": "SHA-256", "content": artifact.sha256}],
        "modelCard": {
            "modelParameters": {
                "task": "image classification",
                "architectureFamily": provenance.family,
                "modelArchitecture": bundle.name,
                "datasets": [{"type": "dataset", "name": f"calibration: {provenance.calibration}"}],
                "inputs": [{"format": f"{_dtype(artifact, INPUT, 'uint8')} RGB image, ({', '.join(map(str, shape))})"}],
                "outputs": [
                    {"format": f"{_dtype(artifact, output.name, 'float32')}, {output.name}"}
                    for output in bundle.spec.outputs
                ],
            },
        },
        "pedigree": {"ancestors": [ancestor], "notes": provenance.scheme},
    }
    if licence:
        component["licenses"] = [{"license": {"name": licence}}]
    if evidence and (metrics := list(_metrics(evidence, artifact.format))):
        component["modelCard"]["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return component


def _dtype(artifact: Artifact, tensor: str, usual: str) -> str:
    """What an artifact takes or returns, where that may be integers."""
    return str(artifact.io[tensor]["dtype"]) if tensor in artifact.io else usual


def _metrics(evidence: Evidence, format: str) -> Iterator[dict[str, Any]]:
    for head in evidence.heads:
        for key, figure in head.figures.get(format, {}).items():
            metric: dict[str, Any] = {"type": f"{head.name}: {METRICS[key]}", "value": f"{figure.value:.6f}"}
            if figure.ci95:
                low, high = figure.ci95
                metric["confidenceInterval"] = {"lowerBound": f"{low:.6f}", "upperBound": f"{high:.6f}"}
            yield metric


def _library(library: Library) -> dict[str, Any]:
    return {
        "type": library.kind,
        "bom-ref": library.purl,
        "name": library.name,
        "version": library.version,
        "purl": library.purl,
        "licenses": [{"license": {"id": library.licence}}],
        "components": [
            {
                "type": "file",
                "name": path,
                "hashes": [{"alg": "SHA-256", "content": sha256(content).hexdigest()}],
            }
            for path, content in library.files.items()
        ],
    }
