"""What is known of a large image set from the time before: hashes, and which images cannot be used.

A set of a million files is so hashed and checked once, not for every run.  A file whose size or time of change is
another is looked at anew; one that was altered in spite of both is found out when it is read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edgefer.host import cache
from edgefer.host.directories import cache_directory

FEWEST = 1_000
"""Files, from which on it is worth while to remember them."""

_VERSION = 1  # of what a manifest holds


@dataclass(frozen=True, slots=True)
class Checked:
    """What looking at an image found.

    Attributes:
        digest: SHA-256 of its bytes; empty where it cannot be used.
        is_noisy: whether a decoder warns of something harmless in it.
        reason: why it cannot be used.
    """

    digest: str
    is_noisy: bool = False
    reason: str = ""


def load(source: Path) -> Mapping[str, tuple[str, Checked]]:
    """By name: the state in which an image was looked at, and what was found; empty where nothing is known."""
    try:
        with np.load(_file(source), allow_pickle=False) as stored:
            names, states, reasons = (json.loads(stored[key].tobytes()) for key in ("names", "states", "reasons"))
            digests = stored["digests"].tobytes()
            rows = zip(names, states, stored["noisy"].tolist(), strict=True)
            return {
                name: (
                    state,
                    Checked("", False, reasons[name])
                    if name in reasons
                    else Checked(digests[32 * row : 32 * row + 32].hex(), noisy),
                )
                for row, (name, state, noisy) in enumerate(rows)
            }
    except Exception:  # damage shows as errors of zipfile, zlib, numpy and json
        return {}


def save(source: Path, found: Mapping[str, tuple[str, Checked]]) -> None:
    """Remember it, where there are enough files."""
    if len(found) < FEWEST:
        return
    checked = [each for _, each in found.values()]
    texts = {
        "names": list(found),
        "states": [state for state, _ in found.values()],
        "reasons": {name: each.reason for name, (_, each) in found.items() if each.reason},
    }
    file = io.BytesIO()
    np.savez_compressed(
        file,
        digests=np.frombuffer(b"".join(bytes.fromhex(each.digest) or bytes(32) for each in checked), np.uint8),
        noisy=np.array([each.is_noisy for each in checked], bool),
        **{key: np.frombuffer(json.dumps(text).encode(), np.uint8) for key, text in texts.items()},  # type: ignore[arg-type]
    )
    cache.store(_file(source), file.getvalue())


def _file(source: Path) -> Path:
    what = f"{_VERSION} {version('opencv-python-headless')} {source.resolve()}"
    return cache_directory() / "image-sets" / f"{sha256(what.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npz"
