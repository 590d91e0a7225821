"""The TFLite emitter: a float graph and a Plan become a file for LiteRT, without tensorflow.

from edgefer.emit.tflite import describe, emit_tflite
Path("network.tflite").write_bytes(describe(emit_tflite(graph, plan), spec, "network"))
"""

from edgefer.emit.tflite.emitter import emit_tflite, unsupported
from edgefer.emit.tflite.metadata import SPEC_FILE, append_associated_files, build_metadata, describe
from edgefer.emit.tflite.site import REMEDY

__all__ = [
    "REMEDY",
    "SPEC_FILE",
    "append_associated_files",
    "build_metadata",
    "describe",
    "emit_tflite",
    "unsupported",
]
