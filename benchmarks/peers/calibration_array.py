"""Turn an image set (.npz) into the arrays that the peers calibrate on, resized as the network expects.

    python calibration_array.py SET.npz SIDE OUT

writes OUT.npy, float32 (N, SIDE, SIDE, 3) in [0, 1], and OUT.raw, the same as uint8 without a header.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

source, side, target = sys.argv[1], int(sys.argv[2]), sys.argv[3]
faces = np.load(source)["images"]
resized = (cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR) for face in faces)
pixels = np.stack([cv2.cvtColor(face, cv2.COLOR_GRAY2RGB) if face.ndim == 2 else face for face in resized])
np.save(f"{target}.npy", pixels.astype(np.float32) / 255)
Path(f"{target}.raw").write_bytes(pixels.tobytes())
