"""Environments that peers run in, each pinned by its file of requirements."""

from __future__ import annotations

from pathlib import Path

from edgefer.host.environments import Environment

PEERS = Path(__file__).resolve().parent / "peers"


def _peer(name: str, probe: str, disk_bytes: int) -> Environment:
    return Environment(name, "3.11", PEERS / f"{name.replace('-', '_')}_requirements.txt", probe, disk_bytes)


ONNXRUNTIME = _peer("onnxruntime", "import onnxruntime.quantization", 400_000_000)
LITERT = _peer("litert-quantizer", "import litert_quantizer.quantizer", 500_000_000)
NNCF = _peer("nncf", "import nncf.onnx", 700_000_000)
