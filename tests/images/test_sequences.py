import numpy as np
import pytest
from PIL import Image

from edgefer.errors import InputError
from edgefer.images import in_sequences, open_images, split_sequences, starts
from edgefer.spec import InputSpec, OutputSpec, Spec, StateSpec

OUTPUTS = (OutputSpec("expression", "expression", ("happy", "sad")),)
STEP = Spec(InputSpec((4, 4), (0.5,) * 3, (0.5,) * 3), OUTPUTS, (StateSpec("h", "h", "g", (1, 2)),))
CLIPS = Spec(InputSpec((4, 4), (0.5,) * 3, (0.5,) * 3, frames=3), OUTPUTS)
STILLS = Spec(STEP.input, OUTPUTS)


def save(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), level, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Sequences a and b, of 11 and 4 frames, whose numbers have no zeros before them."""
    for name, count, first in (("a", 11, 0), ("b", 4, 100)):
        for index in range(count):
            save(tmp_path / "set" / name / f"{index}.png", first + index)
    return tmp_path / "set"


def arrays(path, sequence, **more):
    images = np.arange(len(sequence), dtype=np.uint8).reshape(-1, 1, 1) * np.ones((1, 4, 4), np.uint8)
    np.savez(path, images=images, sequence=np.asarray(sequence), **more)
    return path


def levels(images):
    return [images.read(index)[..., 0, 0, 0].tolist() for index in range(len(images))]


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(folders):
    images = in_sequences(open_images(folders), STEP)
    assert levels(images) == [*range(11), *range(100, 104)]
    assert list(starts(images)) == [0, 11]


def test_folders_of_frames_are_no_classes_but_folders_around_them_are(folders):
    assert in_sequences(open_images(folders), STEP).labels is None
    folders.rename(folders.parent / "happy")
    save(folders.parent / "sad" / "c" / "0.png", 200)
    images = in_sequences(open_images(folders.parent), STEP)
    assert [images.label_names[label] for label in images.labels] == ["happy"] * 15 + ["sad"]


def test_rows_of_one_sequence_stay_in_their_order_wherever_they_are(tmp_path):
    images = in_sequences(open_images(arrays(tmp_path / "set.npz", [7, 3, 7, 3, 7])), STEP)
    assert levels(images) == [0, 2, 4, 1, 3]
    assert list(starts(images)) == [0, 3]
    labelled = arrays(
        tmp_path / "more.npz", ["x", "y"], labels=np.array([1, 0]), label_names=np.array(["happy", "sad"])
    )
    assert in_sequences(open_images(labelled), STEP).labels.tolist() == [1, 0]


def test_clips_are_frames_without_overlap_and_what_is_true_of_their_last(folders, tmp_path):
    assert levels(in_sequences(open_images(folders), CLIPS)) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [100, 101, 102]]
    rows = arrays(tmp_path / "set.npz", [0] * 6, labels=np.array([0, 0, 1, 1, 1, 0]))
    images = in_sequences(open_images(rows), CLIPS)
    assert images.labels.tolist() == [1, 0]
    assert len(set(images.digests)) == 2
    assert levels(images.sent([1], carried=True)) == [[3, 4, 5]]


def test_a_sequence_that_is_shorter_than_a_clip_is_named(tmp_path):
    with pytest.raises(InputError, match=r"sequence '9' has 2 frames, and the network reads clips of 3"):
        in_sequences(open_images(arrays(tmp_path / "set.npz", [1, 1, 1, 9, 9])), CLIPS)


def test_images_of_no_sequence_are_refused_where_the_network_looks_at_sequences(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((5, 4, 4), np.uint8))
    images = open_images(tmp_path / "set.npz")
    assert in_sequences(images, STILLS) is images
    with pytest.raises(InputError, match="nothing says which of its images follow each other") as refused:
        in_sequences(images, STEP)
    assert "`sequence` (N,)" in refused.value.remedy


@pytest.mark.parametrize("sequence", [[0.5] * 4, [[1], [1], [1], [1]], [1, 2]])
def test_what_is_no_sequence_is_refused(tmp_path, sequence):
    images = np.zeros((4, 4, 4), np.uint8)
    np.savez(tmp_path / "set.npz", images=images, sequence=np.asarray(sequence))
    with pytest.raises(InputError, match=r"`sequence` is .* it must be whole numbers or strings \(4,\)"):
        open_images(tmp_path / "set.npz")


@pytest.mark.parametrize("spec", [STEP, CLIPS])
def test_no_sequence_is_calibrated_on_and_judged_by(tmp_path, spec):
    images = open_images(arrays(tmp_path / "set.npz", np.repeat(np.arange(20), 6)))
    parts = split_sequences(images, spec, 48, 12)
    first, second = ({name.partition("/")[0] for name in part.names} for part in parts)
    assert first and second and not first & second
    assert [len(part) for part in parts] == [48, 12] if spec is STEP else [32, 8]
