"""Image sets: what calibration and evaluation read, opened, checked, matched and split.

faces = open_images(Path("faces.zip"))
calibration, held_back = split(faces)
matched = match_labels(faces.label_names, ("angry", "happy"))
"""

from edgefer.images.image_set import Image, ImageSet, Skipped, evenly
from edgefer.images.labels import LabelMatch, match_labels
from edgefer.images.sequences import in_sequences, sample, split_sequences, starts
from edgefer.images.sources import open_images
from edgefer.images.split import CalibrationImages, split

__all__ = [
    "CalibrationImages",
    "Image",
    "ImageSet",
    "LabelMatch",
    "Skipped",
    "evenly",
    "in_sequences",
    "match_labels",
    "open_images",
    "sample",
    "split",
    "split_sequences",
    "starts",
]
