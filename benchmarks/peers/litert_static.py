"""litert-quantizer's recipe for int8 weights and int8 activations, as it comes.

    python litert_static.py MODEL.tflite IMAGES.npy OUT.tflite

MODEL.tflite is the float network; IMAGES.npy holds what it takes, float32 (N, ...).  The tool wants tensors of
different names: those that bear one already borne get a number too.
"""

import sys
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe


def with_names(content: bytes) -> bytes:
    """The same network, its tensors of different names."""
    model = schema.ModelT.InitFromPackedBuf(content)
    borne = set()
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if tensor.name in borne:
            tensor.name += f"/{index}".encode()
        borne.add(tensor.name)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


source, images, target = sys.argv[1:]
model = "named.tflite"
Path(model).write_bytes(with_names(Path(source).read_bytes()))
((signature, names),) = Interpreter(model).get_signature_list().items()
(name,) = names["inputs"]
tool = quantizer.Quantizer(model, recipe.static_wi8_ai8())
statistics = tool.calibrate({signature: [{name: image[np.newaxis]} for image in np.load(images)]})
tool.quantize(statistics).export_model(target)
