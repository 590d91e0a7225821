"""What was seen of a source: times of its frames, and for each face where it was and what the network said of it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NOT_INFERRED = 0
"""Level of a frame on which a face was seen, but the network was not asked."""


@dataclass(frozen=True, eq=False)
class Track:
    """One face through a source, on the m frames where it was seen.

    Attributes:
        face: its number, from 1, in order of appearance.
        frames: indices of the frames, int64 (m,), rising.
        boxes: x, y, width, height in pixels, float64 (m, 4).
        scores: of the detector, float64 (m,).
        sharpness: see `faces.quality`, float64 (m,).
        brightness: likewise.
        flags: bits of `faces.quality.FLAGS`, int64 (m,).
        levels: of the policy, from 1; 0 where the network was not asked; int64 (m,).
        heads: by output, float64 (m, columns), NaN where the network was not asked.
    """

    face: int
    frames: Ints
    boxes: Floats
    scores: Floats
    sharpness: Floats
    brightness: Floats
    flags: Ints
    levels: Ints
    heads: Mapping[str, Floats]

    @property
    def inferred(self) -> npt.NDArray[np.bool_]:
        """Where the network was asked, bool (m,)."""
        asked: npt.NDArray[np.bool_] = self.levels != NOT_INFERRED
        return asked


@dataclass(frozen=True, eq=False)
class Observed:
    """A source, looked at.

    Attributes:
        source: its name.
        digest: SHA-256 of its content.
        times: of all its frames, seconds, float64 (frames,).
        size: width and height of its pictures.
        tracks: its faces, in order of appearance.
        detector_calls: on so many frames the detector was run.
        fleeting: faces that were seen too shortly to be any; they are in no track.
    """

    source: str
    digest: str
    times: Floats
    size: tuple[int, int]
    tracks: tuple[Track, ...]
    detector_calls: int
    fleeting: int

    def to_bytes(self) -> bytes:
        """For a cache."""
        arrays: dict[str, Any] = {"times": self.times}
        for place, track in enumerate(self.tracks):
            arrays |= {f"{place}.{field}": getattr(track, field) for field in _ARRAYS}
            arrays |= {f"{place}.head.{name}": values for name, values in track.heads.items()}
        facts = {
            "source": self.source,
            "digest": self.digest,
            "size": self.size,
            "detector_calls": self.detector_calls,
            "fleeting": self.fleeting,
            "faces": [track.face for track in self.tracks],
        }
        file = io.BytesIO()
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Observed:
        """What `to_bytes` wrote; anything that numpy, zipfile or json raise where it is damaged."""
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            tracks = tuple(
                Track(
                    face,
                    **{field: stored[f"{place}.{field}"] for field in _ARRAYS},
                    heads={
                        key.removeprefix(prefix): stored[key]
                        for prefix in (f"{place}.head.",)
                        for key in stored.files
                        if key.startswith(prefix)
                    },
                )
                for place, face in enumerate(facts["faces"])
            )
            return cls(
                facts["source"],
                facts["digest"],
                stored["times"],
                (facts["size"][0], facts["size"][1]),
                tracks,
                facts["detector_calls"],
                facts["fleeting"],
            )


_ARRAYS = tuple(field.name for field in fields(Track) if field.name not in ("face", "heads"))
