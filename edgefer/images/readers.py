"""What an ImageSet reads with: it can be pickled, cut to some of the images, and made to carry them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from edgefer.errors import InputError
from edgefer.host.native_output import captured_stderr
from edgefer.host.text import printable
from edgefer.images.decode import Undecodable, decode
from edgefer.images.image_set import Image
from edgefer.images.stored import Carried, Fetch


@dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded image.

    Attributes:
        fetch: reads it.
        digest: SHA-256 of its bytes.
        is_noisy: whether a decoder warns of something harmless in it.
    """

    fetch: Fetch
    digest: str
    is_noisy: bool = False


@dataclass(frozen=True, eq=False)
class FileReader:
    """Reads encoded images, and makes sure that they are those that were opened.

    Attributes:
        source: the folder or archive, as the user named it.
        images: by name.
    """

    source: str
    images: Mapping[str, Encoded]

    def __call__(self, name: str) -> Image:
        """See `Reader`."""
        image = self.images[name]
        try:
            data = self._bytes(name)
            if not image.is_noisy:
                return decode(data)
            with captured_stderr():
                return decode(data)
        except Undecodable as error:
            raise InputError(f"{self.source}: {printable(name)} changed while in use: {error}") from error

    def only(self, names: Iterable[str], *, carried: bool = False) -> FileReader:
        """See `Reader`."""
        images = {name: self.images[name] for name in names}
        if carried:
            images = {name: replace(image, fetch=Carried(self._bytes(name))) for name, image in images.items()}
        return FileReader(self.source, images)

    def _bytes(self, name: str) -> bytes:
        image = self.images[name]
        try:
            data = image.fetch(-1)
        except Undecodable as error:
            raise InputError(f"{self.source}: {printable(name)} changed while in use: {error}") from error
        if sha256(data).hexdigest() != image.digest:
            raise InputError(f"{self.source}: {printable(name)} changed while in use: its content is another")
        return data


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Reads images of an array, uint8 (N, H, W) or (N, H, W, 3).

    Attributes:
        images: the array.
        rows: of it, by name.
    """

    images: npt.NDArray[np.uint8]
    rows: Mapping[str, int]

    def __call__(self, name: str) -> Image:
        """See `Reader`."""
        image = self.images[self.rows[name]]
        return image.copy() if image.ndim == 3 else np.repeat(image[:, :, np.newaxis], 3, axis=2)

    def only(self, names: Iterable[str], *, carried: bool = False) -> ArrayReader:
        """See `Reader`; arrays are in memory, and carried always."""
        chosen = list(names)
        return ArrayReader(
            self.images[[self.rows[name] for name in chosen]], {name: i for i, name in enumerate(chosen)}
        )


@dataclass(frozen=True, eq=False)
class PixelReader:
    """Reads images that are in memory, each of its own size.

    Attributes:
        images: uint8 (H, W, 3), by name.
    """

    images: Mapping[str, Image]

    def __call__(self, name: str) -> Image:
        """See `Reader`."""
        return self.images[name]

    def only(self, names: Iterable[str], *, carried: bool = False) -> PixelReader:
        """See `Reader`."""
        return PixelReader({name: self.images[name] for name in names})
