"""Which images a conversion calibrates on, and which it is judged by: never the same ones.

The choice is a folder, zip or npz; the name of a set under `calibration/`; or `synthetic`, which makes images
from the network's own batch-norm statistics.
"""

from __future__ import annotations

from pathlib import Path

from edgefer.errors import InputError, UsageError
from edgefer.evaluation.targets import find_targets
from edgefer.host.progress import Progress
from edgefer.host.resources import bundled_directory, bundled_networks
from edgefer.images import CalibrationImages, ImageSet, in_sequences, open_images, split_sequences
from edgefer.images.sequences import FORMATS as SEQUENCES
from edgefer.networks.network import Network
from edgefer.spec import Spec

SYNTHETIC = "synthetic"
_SUFFIXES = (".npz", ".zip", "")


def calibration_images(
    choice: str | Path | None, network: Network, samples: int, progress: Progress
) -> CalibrationImages:
    """Open, or make, the images for a conversion.

    Args:
        choice: a path, a name, `synthetic`, or None for the network's own set, which bundled networks have.
        network: decides the default; `synthetic` makes images from its unfolded graph.
        samples: at most so many images are calibrated on.
        progress: told about skipped images and about making synthetic ones.

    Raises:
        UsageError: nothing is chosen and the network has no set of its own; `torch` is missing.
        InputError: the images cannot be read, or are too few.
    """
    if choice is None:
        choice = _own_set(network)
    if str(choice) == SYNTHETIC:
        if network.spec.is_of_sequences:
            raise UsageError(
                f"{network.name} looks at sequences, and images made from its statistics are in none",
                remedy=f"Give --calibration sequences of faces.  {SEQUENCES}",
            )
        return _synthetic(network, samples, progress)
    folder = bundled_directory("calibration") / str(choice)
    if not Path(choice).exists() and Path(choice).name == str(choice) and folder.is_dir():
        calibration, held_back = (in_sequences(_part(folder, p), network.spec) for p in ("calibration", "held_back"))
        chosen = calibration.select(range(min(samples, len(calibration))))
        return CalibrationImages(str(choice), chosen, held_back)
    images = opened(choice, progress)
    calibration, held_back = split_sequences(images, network.spec, samples)
    if not len(held_back):
        one = "image" if calibration.names == images.names[:1] else "sequence"
        raise InputError(
            f"{choice}: one {one} is too few: some are needed to calibrate on, and others to judge the result by"
        )
    return CalibrationImages(images.source, calibration, held_back)


def opened(choice: str | Path, progress: Progress) -> ImageSet:
    """A set of which no labels are needed; what of it cannot be used is told.

    Raises:
        InputError: the images cannot be read.
    """
    with progress.stage("open images"):
        images = open_images(Path(choice), labelled=False)
    for line in (*images.skipped_lines(), *images.passed_over_lines()):
        progress.note(line)
    return images


def compared_images(images: CalibrationImages, spec: Spec, max_drop: float | None, progress: Progress) -> ImageSet:
    """The held-back images; with what is true for them where accuracy is asked for, and it is about the network.

    Args:
        images: of the conversion.
        spec: of the network.
        max_drop: percentage points of accuracy that may be lost; None asks for no accuracy, and so for no labels.
        progress: told what does not match.
    """
    if max_drop is None:
        return images.held_back.unlabelled()
    try:
        lines = list(find_targets(images.held_back, spec).lines())
    except InputError as error:
        progress.note(f"{error.message}: accuracy is judged by the float network's own probabilities alone")
        return images.held_back.unlabelled()
    for line in lines:
        progress.note(line)
    return images.held_back


def set_names() -> tuple[str, ...]:
    """Names of the calibration sets that come with edgefer."""
    return tuple(sorted(folder.name for folder in bundled_directory("calibration").iterdir() if folder.is_dir()))


def _own_set(network: Network) -> str:
    name = f"{network.name}_synthetic"
    if name in set_names() and network.source.path == bundled_networks().get(network.name):
        return name
    raise UsageError(
        f"no calibration images for {network.name!r}",
        remedy="Give --calibration a folder, zip or npz of faces like those the network will see (200 or more), "
        "or --calibration synthetic to make images from the network itself.",
    )


def _part(folder: Path, part: str) -> ImageSet:
    for suffix in _SUFFIXES:
        if (path := folder / f"{part}{suffix}").exists():
            return open_images(path)
    raise InputError(f"{folder}: holds no {part}.npz, {part}.zip or folder {part}")


def _synthetic(network: Network, samples: int, progress: Progress) -> CalibrationImages:
    from edgefer.conversion.synthetic import sufficient_count, synthetic_images

    parts = []
    sufficient = sufficient_count(network.spec)
    counts = {"calibration": min(samples, sufficient), "held back": sufficient}
    for seed, (part, count) in enumerate(counts.items()):
        with progress.stage(f"synthesise, {part}", count) as advance:
            parts.append(synthetic_images(network.graph, network.spec, count, seed=seed, advance=advance))
    return CalibrationImages(SYNTHETIC, *parts)
