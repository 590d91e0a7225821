"""ONNX files as users export them, of any opset and exporter, to float graphs with static shapes.

What does not depend on the image is computed as the file is walked, so that shapes follow; operators of other opsets
are restated in those of `OPSET`, one function each (`restate/`).
"""

from edgefer.onnx_import.file import read_onnx
from edgefer.onnx_import.inputs import taken_by
from edgefer.onnx_import.walk import Imported, import_onnx

__all__ = ["Imported", "import_onnx", "read_onnx", "taken_by"]
