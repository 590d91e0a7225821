"""Matching a set's class names to a network's: by name, never by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The same expression as nouns, adjectives and verbs of the published data sets.  `joy` is in the row of
# `happy` because no set of facial expressions tells the two apart; one that did would name both, and
# then neither stands for the other (see `match_labels`).
_SYNONYMS = (
    ("angry", "anger"),
    ("contempt", "contemptuous"),
    ("disgust", "disgusted"),
    ("fear", "fearful", "afraid", "scared"),
    ("happy", "happiness", "joy", "joyful"),
    ("neutral", "neutrality"),
    ("sad", "sadness"),
    ("surprise", "surprised"),
)
_EXPRESSION = {word: row[0] for row in _SYNONYMS for word in row}


@dataclass(frozen=True)
class LabelMatch:
    """Which class of a network each class of a set is.

    Attributes:
        to_network: per class of the set, index of the network's class, None when it has none.
        unmatched_set: classes of the set that the network does not know.
        unmatched_network: classes of the network that the set does not hold.
    """

    to_network: tuple[int | None, ...]
    unmatched_set: tuple[str, ...]
    unmatched_network: tuple[str, ...]


def match_labels(set_labels: Sequence[str], network_labels: Sequence[str]) -> LabelMatch:
    """Match class names, whatever their case and whether parted by spaces, `_` or `-`.

    What is then left is matched as words for the same facial expression (`happiness`, `happy`, `joy`),
    where each side has only one word for it: a network with both `happy` and `joy` means two things.
    Other names, numbers among them, must be equal.
    """
    ours, theirs = [_plain(label) for label in set_labels], [_plain(label) for label in network_labels]
    our_words, their_words = _words(ours), _words(theirs)
    found: list[int | None] = []
    for label in ours:
        expression = _EXPRESSION.get(label, "")
        if label in theirs:
            found.append(theirs.index(label))
        elif len(our_words.get(expression, ())) == len(their_words.get(expression, ())) == 1:
            found.append(theirs.index(their_words[expression][0]))
        else:
            found.append(None)
    return LabelMatch(
        tuple(found),
        tuple(label for label, index in zip(set_labels, found, strict=True) if index is None),
        tuple(label for index, label in enumerate(network_labels) if index not in found),
    )


def _plain(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _words(labels: Sequence[str]) -> dict[str, list[str]]:
    """The words that `labels` use for each expression."""
    words: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        if label in _EXPRESSION:
            words.setdefault(_EXPRESSION[label], []).append(label)
    return words
