"""The TFLite emitter: a float graph and a Plan become a file for LiteRT, without tensorflow.

    from edgefer.emit.tflite import emit_tflite
    Path("network.tflite").write_bytes(emit_tflite(graph, plan))
"""

from edgefer.emit.tflite.delegation import undelegated
from edgefer.emit.tflite.emitter import emit_tflite, unsupported
from edgefer.emit.tflite.metadata import append_associated_files, build_metadata, label_files

__all__ = ["append_associated_files", "build_metadata", "emit_tflite", "label_files", "undelegated", "unsupported"]
