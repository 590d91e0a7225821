"""What operators cost on a board, from the instructions that were counted there."""

import json
from itertools import accumulate

from edgefer.board.instructions import CLASSES
from edgefer.device.operator_costs import COUNTED, _counted


def test_the_instructions_of_a_file_are_those_of_its_median_inference():
    """Three files in two groups, those of the first run in turns; the first inference of each takes longer."""
    order = [*["a", "b"] * COUNTED, *["c"] * COUNTED]
    usual, seen, steps = {"a": 5, "b": 70, "c": 900}, set(), [0]
    for name in order:
        steps += [usual[name] if name in seen else 3 * usual[name], 1]  # between inferences, something else
        seen.add(name)
    marks = [{"mark": "snapshot", "k": k, **dict.fromkeys(CLASSES, total)} for k, total in enumerate(accumulate(steps))]
    found = _counted("\n".join(map(json.dumps, marks)), [2, 1])
    assert found == [[5 * len(CLASSES), 70 * len(CLASSES)], [900 * len(CLASSES)]]
