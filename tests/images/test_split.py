from hashlib import sha256

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgefer.images import Image, ImageSet, split


def an_image_set(contents: list[int], labels: list[int] | None = None) -> ImageSet:
    def reader(name: str) -> Image:
        raise AssertionError("a split reads no pixels")

    return ImageSet(
        "test",
        tuple(f"{index:05d}" for index in range(len(contents))),
        tuple(sha256(str(content).encode()).hexdigest() for content in contents),
        reader,
        None if labels is None else np.array(labels, np.int64),
        () if labels is None else tuple(f"class {label}" for label in range(max(labels) + 1)),
    )


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), min_size=1, max_size=120), st.booleans())
def test_equal_images_are_never_on_both_sides(images: list[tuple[int, int]], labelled: bool) -> None:
    contents, labels = (list(column) for column in zip(*images, strict=True))
    calibration, held_back = split(an_image_set(contents, labels if labelled else None))
    assert not set(calibration.digests) & set(held_back.digests)
    distinct = len(set(contents))
    assert len(set(calibration.digests)) + len(set(held_back.digests)) == distinct
    assert len(calibration) + len(held_back) == distinct
    assert len(held_back) == (max(distinct // 5, 1) if distinct > 1 else 0)


def test_calibration_takes_as_many_of_each_class_as_there_are() -> None:
    labels = [0] * 400 + [1] * 40 + [2] * 10
    calibration, _ = split(an_image_set(list(range(450)), labels), calibrate=90)
    assert calibration.labels is not None
    assert np.bincount(calibration.labels).tolist() == [50, 32, 8]


def test_each_class_is_held_back_in_proportion() -> None:
    labels = [0] * 400 + [1] * 40 + [2] * 10
    _, held_back = split(an_image_set(list(range(450)), labels))
    assert held_back.labels is not None
    assert np.bincount(held_back.labels).tolist() == [80, 8, 2]


def test_both_parts_have_an_upper_bound_and_keep_the_order() -> None:
    calibration, held_back = split(an_image_set(list(range(3000))))
    assert (len(calibration), len(held_back)) == (512, 256)
    assert list(calibration.names) == sorted(calibration.names)
    assert list(held_back.names) == sorted(held_back.names)


@given(st.permutations(range(40)))
def test_the_choice_does_not_depend_on_names_or_order(order: list[int]) -> None:
    expected = [set(part.digests) for part in split(an_image_set(list(range(40))), calibrate=10)]
    assert [set(part.digests) for part in split(an_image_set(order), calibrate=10)] == expected
