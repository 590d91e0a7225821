import pytest

from edgefer.images import match_labels

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_nouns_match_adjectives_whatever_the_order() -> None:
    match = match_labels(("anger", "fear", "happiness", "neutral", "sadness", "surprise", "disgust"), FER2013)
    assert match.to_network == (0, 2, 3, 6, 4, 5, 1)
    assert match.unmatched_set == match.unmatched_network == ()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("HAPPY", "happy"), ("joy", "Happiness"), ("Scared", "fearful"), ("surprised", "Surprise"), ("A-b_c", "a b C")],
)
def test_two_names_of_one_class_match(ours: str, theirs: str) -> None:
    assert match_labels((ours,), (theirs,)).to_network == (0,)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("0001", "1"), ("12", "1-2"), ("sad", "angry"), ("happy", "happy hour"), ("", "neutral")]
)
def test_other_names_do_not_match(ours: str, theirs: str) -> None:
    assert match_labels((ours,), (theirs,)).to_network == (None,)


def test_classes_without_a_counterpart_are_reported_on_both_sides() -> None:
    match = match_labels(("happy", "contempt"), ("sad", "Happy"))
    assert match.to_network == (1, None)
    assert match.unmatched_set == ("contempt",)
    assert match.unmatched_network == ("sad",)


def test_a_side_that_tells_joy_from_happy_is_taken_at_its_word() -> None:
    assert match_labels(("joy", "happy"), ("happy",)).to_network == (None, 0)
    assert match_labels(("happiness",), ("happy", "joy")).to_network == (None,)
    assert match_labels(("joy",), ("happy", "joy")).to_network == (1,)


def test_two_spellings_of_a_class_are_the_same_class() -> None:
    assert match_labels(("Happy", "happy"), ("happiness",)).to_network == (0, 0)
