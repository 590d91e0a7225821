"""`package`: a bundle becomes one zip that app developers cannot integrate wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgefer.bundle import Bundle
from edgefer.errors import EdgeferError, InputError, UsageError
from edgefer.host.files import replacing
from edgefer.host.progress import SILENT, Progress
from edgefer.packaging.archive import write_archive
from edgefer.packaging.browser_detector import browser_detector
from edgefer.packaging.browser_runtime import browser_runtime
from edgefer.packaging.card import model_card
from edgefer.packaging.figures import read_evidence
from edgefer.packaging.golden import golden_cases, golden_files
from edgefer.packaging.guide import guide
from edgefer.packaging.interface import contract_json, contract_text
from edgefer.packaging.on_video import read_policy_for, video_json, video_text
from edgefer.packaging.provenance import Provenance
from edgefer.packaging.sample import Sample, samples_for
from edgefer.packaging.sbom import Library, bill_of_materials
from edgefer.packaging.signature import is_signature, sign
from edgefer.packaging.traces import traces_json
from edgefer.packaging.verify import SUMS, signature_path, sums, verify


@dataclass(frozen=True)
class Package:
    """What was written.

    Attributes:
        path: the zip.
        bytes: its size.
        sha256: hex digest of the zip.
        files: bytes by path inside.
        signature: the detached signature, None where no key was given.
    """

    path: Path
    bytes: int
    sha256: str
    files: Mapping[str, int]
    signature: Path | None

    def to_dict(self) -> dict[str, Any]:
        """The document of schema `edgefer.package/1`."""
        return {
            "schema": "edgefer.package/1",
            "file": str(self.path),
            "bytes": self.bytes,
            "sha256": self.sha256,
            "files": dict(self.files),
            "signature": self.signature and str(self.signature),
        }


def package(
    bundle: str | Path | Bundle,
    output: str | Path,
    *,
    evaluation: str | Path | None = None,
    policy: str | Path | None = None,
    licence: str = "",
    about: str | Path | None = None,
    sign_key: str | Path | None = None,
    browser_demo: bool = False,
    progress: Progress = SILENT,
) -> Package:
    """Write what app developers receive; equal inputs give equal bytes.

    Args:
        bundle: its directory.
        output: the zip; an older package there is replaced once the new one is complete.
        evaluation: what `edgefer evaluate --json` wrote about this bundle, for the model card.
        policy: what `edgefer policy` wrote about this bundle; by default an app asks the network on every frame.
        licence: of the network, such as an SPDX identifier.
        about: Markdown for the model card: training data, known limits, whom to ask.
        sign_key: OpenSSH key that makes a detached signature beside the zip.
        browser_demo: bundle onnxruntime-web (14 MB) and BlazeFace (1 MB), so that the demo page runs as it is, also
            offline.
        progress: listens to the stages.

    Raises:
        UsageError: `output` is something else than a package, the key cannot sign, or a tool is missing.
        InputError: a file is unreadable, altered, or about another bundle.
        EdgeferError: npm cannot fetch onnxruntime-web, or pip BlazeFace.
    """
    path = Path(output)
    _check_destination(path)
    with progress.stage("read"):
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(Path(bundle))
        artifacts = [artifact for artifact in opened.artifacts if not artifact.is_reference]
        formats = [artifact.format for artifact in artifacts]
        fitting = samples_for(formats, integers=any(artifact.io for artifact in artifacts))
        if browser_demo and "onnx" not in formats:
            raise UsageError(
                f"{opened.path}: the demo page needs an ONNX artifact", remedy="Convert with --formats tflite,onnx."
            )
        provenance = Provenance.of(opened)
        evidence = read_evidence(Path(evaluation), opened) if evaluation is not None else None
        chosen = read_policy_for(opened, Path(policy)) if policy is not None else None
        told = _read_text(Path(about)) if about is not None else ""
    with progress.stage("golden tests"):
        golden = golden_files(golden_cases(opened), opened.spec)
        golden["golden/traces.json"] = traces_json(opened, chosen)
    samples = Library(
        "edgefer", version("edgefer"), f"pkg:pypi/edgefer@{version('edgefer')}", "Apache-2.0", _files(fitting)
    )
    libraries = [samples]
    if browser_demo:
        with progress.stage("onnxruntime-web"):
            libraries.append(browser_runtime())
        with progress.stage("face detector"):
            libraries.append(browser_detector())
    with progress.stage("write"):
        contents = {
            "README.md": guide(opened.name, artifacts, fitting, browser_demo),
            "MODEL_CARD.md": model_card(opened, provenance, evidence, licence, told),
            "PREPROCESSING.md": contract_text(opened, video_text(opened, chosen)),
            "preprocessing.json": contract_json(opened),
            "video.json": video_json(opened, chosen),
            **{f"models/{a.file}": (opened.path / a.file).read_bytes() for a in artifacts},
            **golden,
            "sbom.cdx.json": bill_of_materials(opened, provenance, evidence, licence, libraries),
        }
        for library in libraries:
            contents |= library.files
        contents[SUMS] = sums(contents)
        archive = write_archive(contents)
        signed = sign(archive, Path(sign_key)) if sign_key is not None else None
        _write(path, archive, signed)
    sizes = {name: len(data) for name, data in contents.items()}
    return Package(path, len(archive), sha256(archive).hexdigest(), sizes, signature_path(path) if signed else None)


def _check_destination(path: Path) -> None:
    """Refuse, before any work is done, to overwrite what is not a package."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: cannot be made: it is a directory, or lies in none")
    if path.exists() and not _is_package(path):
        raise UsageError(
            f"{path}: exists and is not a package; it is left alone", remedy="Choose another file with -o."
        )
    if (signature := signature_path(path)).exists() and not is_signature(signature):
        raise UsageError(
            f"{signature}: exists and is not a signature; it is left alone", remedy="Choose another file with -o."
        )


def _is_package(path: Path) -> bool:
    try:
        verify(path)
    except EdgeferError:
        return False
    return True


def _files(samples: Sequence[Sample]) -> dict[str, bytes]:
    """Contents of the samples, by path in the package."""
    return {name: data for sample in samples for name, data in sample.files().items()}


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from error


def _write(path: Path, archive: bytes, signed: bytes | None) -> None:
    """Write the zip and its signature once both are on the disk; an older signature, of an older zip, goes."""
    signature = signature_path(path)
    contents = {**({signature: signed} if signed is not None else {}), path: archive}
    try:
        with ExitStack() as written:
            for target, data in contents.items():
                written.enter_context(replacing(target)).write_bytes(data)
            signature.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}", remedy="Free some space.") from error
