"""Evaluating a bundle: float reference and artifacts over the same images, judged by paired statistics.

evaluation = edgefer.evaluate("fer_b0_bundle", "faces.npz")
evaluation.all.main.artifacts["tflite"].drift.accuracy_drop
"""

from edgefer.evaluation.results import Evaluation
from edgefer.evaluation.run import evaluate

__all__ = ["Evaluation", "evaluate"]
