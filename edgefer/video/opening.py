"""From what a user names to sources of frames: files, folders of either kind, cameras."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgefer.errors import InputError, UsageError
from edgefer.video.folders import FrameFolder
from edgefer.video.frames import Source
from edgefer.video.recordings import Camera, VideoFile

VIDEOS = frozenset(
    [".3gp", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"]
)
"""Endings of the files that are taken for videos in a folder; a file that is named is tried whatever its ending."""


def open_sources(
    named: Sequence[str | Path], *, fps: float | None = None, duration_s: float | None = None
) -> Iterator[Source | InputError]:
    """Each source, or why it cannot be one, so that a bad file among many does not stop the others.

    Args:
        named: video files, folders of videos, folders of pictures, `camera:0`.
        fps: of folders of pictures that have no times.
        duration_s: after which a camera is left.

    Raises:
        UsageError: nothing is named, or a name is of no kind.
    """
    if not named:
        raise UsageError("no source is given", remedy="Name a video, a folder of videos or pictures, or camera:0.")
    taken: Counter[str] = Counter()
    for path, name in _expanded(named):
        taken[name] += 1
        distinct = name if taken[name] == 1 else f"{name}#{taken[name]}"
        if isinstance(path, int):
            yield Camera(path, duration_s)
            continue
        try:
            yield FrameFolder(path, fps, distinct) if path.is_dir() else VideoFile(path, distinct)
        except InputError as error:
            yield error


def _expanded(named: Sequence[str | Path]) -> Iterator[tuple[Path | int, str]]:
    """What each name stands for: paths or a camera's number, and what results call it."""
    for each in named:
        if match := re.fullmatch(r"camera:(\d{1,3})", str(each)):
            yield int(match[1]), str(each)
            continue
        path = Path(each)
        videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEOS) if path.is_dir() else []
        if videos:
            yield from ((video, str(video.relative_to(path))) for video in videos)
        else:
            yield path, path.resolve().name
