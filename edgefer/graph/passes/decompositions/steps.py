"""Recurrent layers, step by step: one product for the inputs of all steps, one for the state of each.

Gates are laid out as ONNX has them; a state that is left out is zero, and takes no part in the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgefer.graph.ir import Array
from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_CURVES = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
_KNOWN = frozenset({"Relu", "Sigmoid", "Tanh"})


@dataclass(frozen=True)
class _Cell:
    """One direction of a layer.

    Attributes:
        recurrence: (gates * hidden, hidden), all gates in one, or those in parts that read different things.
        bias: what is added to the products with the state, (gates * hidden,), in parts alike.
        hidden: numbers in the state.
        curves: names of the activations.
        resets_last: whether a GRU's reset gate comes after the product with the state.
        limit: what numbers are limited to before an activation, of either sign; infinity where they are not.
        peepholes: what an LSTM's gates (input, output, forget) see of the cell, (3, hidden).
    """

    recurrence: Sequence[Array]
    bias: Sequence[Array]
    hidden: int
    curves: Sequence[str]
    resets_last: bool
    limit: float
    peepholes: Array | None


@decomposes("LSTM", "GRU", "RNN")
def recurrent(at: Formula) -> list[Term | None] | None:
    """Each direction step by step, its states joined."""
    op, hidden = at.node.op, at.node.int("hidden_size")
    weights, recurrence = at.constant(1), at.constant(2)
    directions = 2 if at.node.str("direction", "forward") == "bidirectional" else 1
    curves = _curves(at, directions)
    if weights is None or recurrence is None or curves is None or not _is_plain(at):
        return None
    gates = _GATES[op] * hidden
    biases = at.constant(3) if at.has_input(3) else np.zeros((directions, 2 * gates), np.float32)
    if biases is None:
        return None
    limit = at.node.float("clip", np.inf)
    holes = at.constant(7) if op == "LSTM" else None
    x = at.input(0)
    x = x.transposed(1, 0, 2) if at.node.int("layout") else x
    steps, batch, size = x.shape
    rows = x.reshaped(steps * batch, size)
    every, last, cells = [], [], []
    for index in range(directions):
        apart = op == "GRU" and at.node.int("linear_before_reset")
        of_input, of_state = biases[index][:gates], biases[index][gates:]
        bias = of_input if apart else of_input + of_state
        cut = [2 * hidden] if op == "GRU" and not apart else []
        added = of_state if apart else np.zeros_like(of_state)
        parts, biases_of_state = np.split(recurrence[index], cut), np.split(added, cut)
        peepholes = None if holes is None else holes[index].reshape(3, hidden)
        cell = _Cell(parts, biases_of_state, hidden, curves[index], bool(apart), limit, peepholes)
        products = rows.to("Gemm", weights[index], bias, transB=1)
        backwards = index == 1 or at.node.str("direction", "forward") == "reverse"
        state = tuple(_initial(at, position, index, batch, hidden) for position in (5, 6))
        made: dict[int, Term] = {}
        for step in sorted(range(steps), reverse=backwards):
            state = _STEPS[op](cell, products.part(0, step * batch, (step + 1) * batch), *state)
            assert state[0] is not None
            made[step] = state[0]
        every.append([made[step].reshaped(1, 1, batch, hidden) for step in range(steps)])
        last.append(state[0])
        cells.append(state[1])
    return _outputs(at, every, [last, cells], batch, hidden)


def _outputs(
    at: Formula, every: list[list[Term]], final: list[list[Term | None]], batch: int, hidden: int
) -> list[Term | None]:
    whole = None
    if at.wants(0):
        whole = _joined(at, [_joined(at, list(both), 1) for both in zip(*every, strict=True)], 0)
        whole = whole.transposed(2, 0, 1, 3) if at.node.int("layout") else whole
    results: list[Term | None] = [whole]
    for index, terms in enumerate(final, 1):
        found = [term.reshaped(1, batch, hidden) for term in terms if term is not None] if at.wants(index) else []
        ended = _joined(at, found, 0) if found else None
        results.append(ended.transposed(1, 0, 2) if ended is not None and at.node.int("layout") else ended)
    return results


def _joined(at: Formula, terms: list[Term], axis: int) -> Term:
    if len(terms) == 1:
        return terms[0]
    (whole,) = at.apply("Concat", terms, {"axis": axis})
    return whole


def _is_plain(at: Formula) -> bool:
    """Whether all steps count, and nothing is added to what textbooks have."""
    lengths = at.constant(4)
    steps = at.input(0).shape[1 if at.node.int("layout") else 0]
    if at.has_input(4) and (lengths is None or np.any(lengths != steps)):
        return False
    return not at.node.int("input_forget") and (not at.has_input(7) or at.constant(7) is not None)


def _curves(at: Formula, directions: int) -> list[Sequence[str]] | None:
    default = _CURVES[at.node.op]
    stated = at.node.attributes.get("activations", default * directions)
    assert isinstance(stated, tuple)
    names = [str(name) for name in stated]
    each = [names[index * len(default) : (index + 1) * len(default)] for index in range(directions)]
    return list(each) if _KNOWN.issuperset(names) else None


def _initial(at: Formula, position: int, direction: int, batch: int, hidden: int) -> Term | None:
    constant = at.constant(position)
    if not at.has_input(position) or (constant is not None and not np.any(constant)):
        return None
    state = at.input(position)
    state = state.transposed(1, 0, 2) if at.node.int("layout") else state
    return state.part(0, direction, direction + 1).reshaped(batch, hidden)


def _product(cell: _Cell, state: Term, part: int = 0) -> Term:
    return state.to("Gemm", cell.recurrence[part], cell.bias[part], transB=1)


def _gate(cell: _Cell, gates: Term, index: int, curve: int) -> Term:
    return _curve(cell, gates.part(1, index * cell.hidden, (index + 1) * cell.hidden), curve)


def _curve(cell: _Cell, x: Term, curve: int) -> Term:
    limited = x.to("Clip", -cell.limit, cell.limit) if np.isfinite(cell.limit) else x
    return limited.to(cell.curves[curve])


_State = tuple[Term | None, Term | None]


def _rnn(cell: _Cell, x: Term, h: Term | None, _: Term | None) -> _State:
    return _curve(cell, x if h is None else x + _product(cell, h), 0), None


def _lstm(cell: _Cell, x: Term, h: Term | None, c: Term | None) -> _State:
    gates = x if h is None else x + _product(cell, h)
    i, o, f = (gates.part(1, index * cell.hidden, (index + 1) * cell.hidden) for index in range(3))
    if cell.peepholes is not None and c is not None:
        i, f = i + c * cell.peepholes[0], f + c * cell.peepholes[2]
    new = _curve(cell, i, 0) * _gate(cell, gates, 3, 1)
    c = new if c is None else _curve(cell, f, 0) * c + new
    if cell.peepholes is not None:
        o = o + c * cell.peepholes[1]
    return _curve(cell, o, 0) * c.to(cell.curves[2]), c


def _gru(cell: _Cell, x: Term, h: Term | None, _: Term | None) -> _State:
    both, own = x.part(1, 0, 2 * cell.hidden), x.part(1, 2 * cell.hidden, 3 * cell.hidden)
    if h is None and cell.resets_last:
        both = both + cell.bias[0][: 2 * cell.hidden]
    elif h is not None:
        products = _product(cell, h)
        both = both + (products.part(1, 0, 2 * cell.hidden) if cell.resets_last else products)
    z, r = (_gate(cell, both, index, 0) for index in range(2))
    if cell.resets_last:
        bias = cell.bias[0][2 * cell.hidden :]
        own = own + r * (bias if h is None else products.part(1, 2 * cell.hidden, 3 * cell.hidden))
    elif h is not None:
        own = own + _product(cell, r * h, 1)
    n = _curve(cell, own, 1)
    return (n - z * n if h is None else n + z * (h - n)), None


_STEPS: dict[str, Callable[[_Cell, Term, Term | None, Term | None], _State]] = {
    "GRU": _gru,
    "LSTM": _lstm,
    "RNN": _rnn,
}
