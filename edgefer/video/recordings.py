"""Video files, and cameras, through OpenCV: frames in the file's own order, at the file's own times."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import cv2

from edgefer.errors import InputError, UsageError
from edgefer.host.native_output import captured_stderr
from edgefer.video.first_picture import first_picture_s
from edgefer.video.frames import Frame

_OPEN_FAILURES = "Is it a video that was downloaded completely?"
_CAMERA_FAILURES = "Is it plugged in, may you use it, and does no other program hold it?"


class VideoFile:
    """A video file: orientation as its container says, times as its frames carry them, never from a frame rate."""

    def __init__(self, path: Path, name: str = "") -> None:
        """Nothing is decoded yet.

        Raises:
            InputError: there is no such file, or it holds no pictures.
        """
        self._path = path
        self.name = name or path.name
        with _opened(str(path), str(path)) as capture:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.expected = count if 0 < count < 1 << 32 else None

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        try:
            with self._path.open("rb") as file:
                return file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror or error}") from error

    def carried(self) -> CarriedVideo:
        """See `Source`."""
        try:
            return CarriedVideo(self.name, self._path, self._path.read_bytes(), self.expected)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read: {error.strerror or error}") from error

    def frames(self) -> Iterator[Frame]:
        """Every frame.

        Raises:
            InputError: there is none, or times do not rise.
        """
        first_s = first_picture_s(self._path)
        previous = -1.0
        index = -1
        with _opened(str(self._path), str(self._path)) as capture:
            while (picture := _next(capture)) is not None:
                index += 1
                since_first = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # of the frame just read
                time_s = round(first_s + since_first, 6)
                if time_s <= previous:
                    raise InputError(
                        f"{self._path}: frame {index} is at {time_s:g} s, and the one before it at {previous:g} s",
                        remedy="Its container holds no times; put it into one that does: ffmpeg -i IN -c copy OUT.mkv",
                    )
                previous = time_s
                yield Frame(index, time_s, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        if index < 0:
            raise InputError(f"{self._path}: not one frame of it can be decoded", remedy=_OPEN_FAILURES)


@dataclass(frozen=True, eq=False)
class CarriedVideo:
    """A video file in memory, which is written to a scratch file where it is read.

    Attributes:
        name: what results call it.
        path: where it lies on the machine that it came from.
        data: its content.
        expected: about how many frames it has.
    """

    name: str
    path: Path
    data: bytes
    expected: int | None

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.data).hexdigest()

    def carried(self) -> CarriedVideo:
        """See `Source`."""
        return self

    def frames(self) -> Iterator[Frame]:
        """Every frame; see `VideoFile`."""
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder) / f"video{self.path.suffix}"
            scratch.write_bytes(self.data)
            try:
                yield from VideoFile(scratch, self.name).frames()
            except InputError as error:
                told = error.message.replace(str(scratch), str(self.path))
                raise InputError(told, remedy=error.remedy) from error


class Camera:
    """A camera, until it is unplugged or its time is over: frames as they come, times by this machine's clock."""

    digest = ""
    expected = None

    def __init__(self, number: int, duration_s: float | None = None) -> None:
        self._number = number
        self._duration_s = duration_s
        self.name = f"camera:{number}"

    def carried(self) -> Camera:
        """Refuses.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.name} is plugged in here, and cannot be looked at elsewhere")

    def frames(self) -> Iterator[Frame]:
        """Frames, each at the time when it arrived.

        Raises:
            InputError: there is no such camera, or another program has it.
        """
        with _opened(self._number, f"{self.name}: cannot be opened", _CAMERA_FAILURES) as capture:
            start = time.monotonic()
            index = 0
            while (picture := _next(capture)) is not None:
                time_s = time.monotonic() - start
                if self._duration_s is not None and time_s > self._duration_s:
                    return
                yield Frame(index, round(time_s, 6), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
                index += 1
        if index == 0:
            raise InputError(f"{self.name}: gives no picture", remedy=_CAMERA_FAILURES)


@contextmanager
def _opened(source: str | int, where: str, remedy: str = _OPEN_FAILURES) -> Iterator[Any]:
    if isinstance(source, str) and not Path(source).is_file():
        raise InputError(f"{where}: no such file")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what it has to say is said by what we raise
    with captured_stderr():
        capture = cv2.VideoCapture(source)
    try:
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        if not capture.isOpened():
            raise InputError(
                where if isinstance(source, int) else f"{where}: holds no video that can be read", remedy=remedy
            )
        yield capture
    finally:
        capture.release()


def _next(capture: Any) -> Any:
    """The next frame as OpenCV has it, None after the last."""
    try:
        read, picture = capture.read()
    except cv2.error:
        return None
    return picture if read and picture is not None and picture.ndim == 3 else None
