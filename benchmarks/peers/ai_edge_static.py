"""ai-edge-quantizer's recipe for int8 weights and int8 activations, as it comes.

    python ai_edge_static.py MODEL.tflite IMAGES.npy OUT.tflite

MODEL.tflite is the float network; IMAGES.npy holds what it takes, float32 (N, H, W, 3).
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

model, images, target = sys.argv[1:]
((signature, names),) = Interpreter(model).get_signature_list().items()
(name,) = names["inputs"]
tool = quantizer.Quantizer(model, recipe.static_wi8_ai8())
statistics = tool.calibrate({signature: [{name: image[np.newaxis]} for image in np.load(images)]})
tool.quantize(statistics).export_model(target)
