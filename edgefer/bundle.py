"""The Bundle: the directory that is evaluated, benchmarked, gated and shipped.

    OUT/
      NAME_int8.tflite  NAME_int8.onnx   pixels in, meanings out (or NAME_w8, NAME_fp16)
      NAME_fp32.onnx                     the reference all drift is measured against
      manifest.json     plan.json        labels.txt     report.html     SHA256SUMS

It is written under a temporary name and renamed, so that a reader sees all of it or nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from edgefer.errors import InputError, UsageError
from edgefer.host.interruption import interrupts_deferred
from edgefer.plan import Plan
from edgefer.spec import Spec

Batch: TypeAlias = Literal[1, "dynamic"]
"""How many images an artifact takes at once: one, or any number."""

SCHEMA = "edgefer.bundle/1"
MANIFEST = "manifest.json"
PLAN = "plan.json"
SUMS = "SHA256SUMS"
REFERENCE_PRECISION: Final = "float32"
_LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")  # that file managers leave behind, unasked


@dataclass(frozen=True)
class Artifact:
    """One file that runs.

    Attributes:
        file: name inside the bundle.
        format: `tflite` or `onnx`.
        precision: `int8`, `w8` (weights in int8), `fp16` (weights in float16), or `float32` for the reference.
        bytes: size of the file.
        sha256: hex digest of the file.
        ops: how many operators compute in int8 and in float.
        macs: multiply-accumulates per frame.
        batch: images that it takes at once: 1, or any number where `dynamic`.
        io: how it stores inputs and outputs, where they are integers: `dtype`, `scale` and `zero_point` by name;
            nothing where it takes pixels and returns real numbers.
    """

    file: str
    format: str
    precision: str
    bytes: int
    sha256: str
    ops: Mapping[str, int]
    macs: int
    batch: Batch = 1
    io: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise TypeError where a number or a name is none."""
        for name in (self.file, self.format, self.precision, self.sha256):
            if not isinstance(name, str):
                raise TypeError(f"{name!r:.80} is no name")
        for number in (self.bytes, self.macs, *self.ops.values()):
            if not isinstance(number, int) or number < 0:
                raise TypeError(f"{number!r:.80} is no count")

    @property
    def is_reference(self) -> bool:
        """Whether it is the float network that others are judged by."""
        return self.precision == REFERENCE_PRECISION


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, its manifest read and checked."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Bundle:
        """Read a bundle.

        Args:
            path: its directory.
            verify: compare every file with SHA256SUMS.

        Raises:
            InputError: it is no bundle, of another schema, incomplete or altered.
        """
        if path.is_file():
            raise InputError(
                f"{path}: not a bundle, which is a directory, but a file",
                remedy="Make one of a network with `edgefer convert`; `edgefer families` lists what is read.",
            )
        try:
            manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"{path}: not a bundle: {MANIFEST} cannot be read: {reason}"
                if path.exists()
                else f"{path}: no such bundle",
                remedy="Make one with `edgefer convert`.",
            ) from error
        if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
            raise InputError(f"{path / MANIFEST}: not a manifest of schema {SCHEMA}")
        bundle = cls(path, manifest)
        if verify:
            bundle.verify()
        return bundle

    @property
    def name(self) -> str:
        """The network's name."""
        return str(self.manifest["name"])

    @cached_property
    def spec(self) -> Spec:
        """What input and outputs mean."""
        return Spec.from_dict(dict(self.manifest), str(self.path / MANIFEST))

    @cached_property
    def plan(self) -> Plan:
        """What quantization decided."""
        return Plan.from_json((self.path / PLAN).read_text("utf-8"))

    @cached_property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All artifacts, the float reference included.

        Raises:
            InputError: the manifest does not describe them.
        """
        try:
            return tuple(Artifact(**entry) for entry in self.manifest["artifacts"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path / MANIFEST}: its artifacts are not readable: {error}") from error

    @property
    def precision(self) -> str:
        """What its artifacts, but for the reference, are stored in."""
        return next((artifact.precision for artifact in self.artifacts if not artifact.is_reference), "int8")

    def artifact(self, format: str, precision: str = "") -> Path:
        """Path of the artifact of a format, of the bundle's own precision where none is named.

        Raises:
            InputError: the bundle holds none.
        """
        precision = precision or self.precision
        for artifact in self.artifacts:
            if (artifact.format, artifact.precision) == (format, precision):
                return self.path / artifact.file
        held = ", ".join(sorted({artifact.format for artifact in self.artifacts if artifact.precision == precision}))
        raise InputError(f"{self.path}: holds no {precision} {format} artifact (it has {held})")

    @property
    def over_budget(self) -> tuple[Artifact, ...]:
        """Artifacts that are larger than the budget; the float reference has none."""
        budget = self.manifest["budget_bytes"]
        return tuple(a for a in self.artifacts if not a.is_reference and a.bytes > budget)

    def verify(self) -> None:
        """Compare every file with SHA256SUMS.

        Raises:
            InputError: a file is missing, altered or not listed.
        """
        listed = self._listed()
        wanted = {MANIFEST, PLAN, *(artifact.file for artifact in self.artifacts)}
        if unlisted := sorted(wanted - listed.keys()):
            raise InputError(f"{self.path / SUMS}: does not list {unlisted[0]}")
        for name, digest in listed.items():
            file = self.path / name
            if Path(name).name != name or not file.is_file():
                raise InputError(f"{file}: missing from the bundle", remedy="Convert again.")
            if sha256(file.read_bytes()).hexdigest() != digest:
                raise InputError(
                    f"{file}: altered since it was made: its SHA-256 differs from {SUMS}", remedy="Convert again."
                )

    @property
    def strangers(self) -> tuple[str, ...]:
        """What is in the directory and does not belong to the bundle, by name.

        Raises:
            InputError: SHA256SUMS, which lists what belongs to it, cannot be read.
        """
        return tuple(sorted({file.name for file in self.path.iterdir()} - {SUMS, *_LITTER} - self._listed().keys()))

    def _listed(self) -> dict[str, str]:
        """The digest of each file in SHA256SUMS."""
        try:
            lines = (self.path / SUMS).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path / SUMS}: cannot be read: {error}") from error
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def check_destination(path: Path) -> None:
    """Refuse, before any work is done, to overwrite anything but a bundle.

    Raises:
        UsageError: `path` exists and holds something else, or cannot be written.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{path}: its name is not UTF-8, which LiteRT needs", remedy="Choose another directory with -o."
        ) from None
    if path.is_dir():
        if any(path.iterdir()):
            _check_is_bundle_alone(path)
    elif path.exists() or path.is_symlink():
        raise UsageError(f"{path}: exists and is not a directory", remedy="Choose another directory with -o.")
    place = path.resolve()
    if place in (Path.cwd(), *Path.cwd().parents):
        raise UsageError(f"{path}: is where you are, and would be replaced", remedy="Choose another directory with -o.")
    ancestor = next(parent for parent in place.parents if parent.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK | os.X_OK):
        raise UsageError(
            f"{path}: cannot be made: {ancestor} is not a directory that you can write to",
            remedy="Choose another directory with -o.",
        )


def write_bundle(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Bundle:
    """Write a bundle, replacing an older one only when the new one is complete.

    Args:
        path: the bundle's directory.
        manifest: what manifest.json holds.
        files: all other files by name, but for SHA256SUMS.

    Raises:
        UsageError: `path` holds something that is not a bundle, or lies beside one.
        InputError: the directory cannot be written (disk full, no permission).
    """
    check_destination(path)
    contents = {**files, MANIFEST: (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode()}
    sums = "".join(f"{sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    place = path.resolve()  # a link to a bundle stays one
    parent = place.parent
    scratch: Path | None = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with interrupts_deferred():
            scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=parent))
        fresh = scratch / "new"
        fresh.mkdir()
        for name, data in {**contents, SUMS: sums.encode()}.items():
            (fresh / name).write_bytes(data)
        if place.exists():
            place.rename(scratch / "old")
        fresh.rename(place)
    except OSError as error:
        raise InputError(
            f"{path}: the bundle cannot be written: {error.strerror or error}",
            remedy="Free some space, or choose another directory with -o.",
        ) from error
    finally:
        if scratch is not None:
            with interrupts_deferred():
                _put_back(scratch / "old", place)
                shutil.rmtree(scratch, ignore_errors=True)
    return Bundle.open(path, verify=False)


def _check_is_bundle_alone(path: Path) -> None:
    try:
        strangers = Bundle.open(path, verify=False).strangers
    except InputError:
        raise UsageError(
            f"{path}: exists and is not a bundle; it is left alone", remedy="Choose another directory with -o."
        ) from None
    if strangers:
        raise UsageError(
            f"{path}: holds {strangers[0]!r} beside the bundle, which would be lost; all is left alone",
            remedy="Move it elsewhere, or choose another directory with -o.",
        )


def _put_back(old: Path, path: Path) -> None:
    """Restore the older bundle where the new one did not take its place."""
    if old.exists() and not path.exists():
        old.rename(path)
