"""The conversions of a sweep as jobs: a network and options in, a bundle out."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from edgefer.conversion.convert import convert
from edgefer.errors import InputError, UsageError
from edgefer.execution import Job
from edgefer.execution.task import Perform
from edgefer.host.progress import Advance
from edgefer.images import open_images
from edgefer.sweeping.request import Trained

_VERSION = 1  # of what is kept of conversions
_SIDECAR = ".spec.toml"


@dataclass(frozen=True)
class Conversion:
    """A network and how it is converted.

    Attributes:
        name: of its bundle.
        network: which.
        options: of `convert`.
        carried: contents of files that are sent along, by their names.
    """

    name: str
    network: Trained
    options: Mapping[str, Any]
    carried: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Convert:
    """The task: convert, and pack the bundle."""

    files: Mapping[str, Path] = field(default_factory=dict)

    def open(self, files: Mapping[str, Path]) -> Perform:
        """See `Task`."""

        def perform(conversion: Conversion, advance: Advance) -> bytes:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    bundle = Path(folder) / "bundle" / conversion.name
                    bundle.parent.mkdir()
                    there = _unpacked(conversion, Path(folder))
                    convert(there.network.model, bundle, **there.network.how, **there.options)
                    advance()
                    return _packed(bundle)
            except UsageError as error:
                raise InputError(error.message, remedy=error.remedy) from error

        return perform


def conversion_job(conversion: Conversion, versions: str) -> Job:
    """The job of a conversion, known by the contents of all that it reads.

    Raises:
        InputError: the model or the calibration set cannot be read.
    """
    files = [file for file in _files(conversion) if file.is_file()]
    read = {file.name: _digest(file) for file in files}
    calibration = conversion.options.get("calibration")
    options = dict(conversion.options)
    if calibration is not None and Path(calibration).exists():
        options["calibration"] = open_images(Path(calibration), labelled=False).sha256
    known = (_VERSION, versions, conversion.network.how, Path(conversion.network.model).name, options, read)

    def item(carried: bool) -> Conversion:
        if not carried:
            return conversion
        if calibration is not None and Path(calibration).is_dir():
            raise UsageError(f"{calibration}: a folder is not sent", remedy="Pack it: give a .zip or .tar of it.")
        every = [*files, *([Path(calibration)] if calibration and Path(calibration).is_file() else [])]
        return replace(conversion, carried={file.name: file.read_bytes() for file in every})

    return Job(sha256(repr(known).encode()).hexdigest(), item, 1, conversion.name, alone=True)


def unpack(packed: bytes, bundle: Path) -> None:
    """Write a bundle that was packed.

    Raises:
        InputError: it holds what no bundle does.
    """
    bundle.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            if content is None or Path(member.name).name != member.name:
                raise InputError(f"{bundle}: {member.name} is no file of a bundle")
            (bundle / member.name).write_bytes(content.read())


def _packed(bundle: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(bundle.iterdir()):
            info = tarfile.TarInfo(path.name)
            info.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(info, content)
    return file.getvalue()


def _files(conversion: Conversion) -> list[Path]:
    """The model, what stands beside it, and what options name."""
    model = Path(conversion.network.model)
    further = (conversion.network.how.get("family"), conversion.options.get("costs"))
    return [model, model.with_name(model.stem + _SIDECAR), *(Path(each) for each in further if each)]


def _unpacked(conversion: Conversion, folder: Path) -> Conversion:
    """The same conversion, of files in `folder`, where it carries any."""
    for name, content in conversion.carried.items():
        (folder / name).write_bytes(content)

    def there(value: Any) -> Any:
        name = Path(value).name if isinstance(value, str) else ""
        return str(folder / name) if name in conversion.carried else value

    network = conversion.network
    how = {key: there(value) for key, value in network.how.items()}
    options = {key: there(value) for key, value in conversion.options.items()}
    return replace(conversion, network=replace(network, model=there(network.model), how=how), options=options)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
