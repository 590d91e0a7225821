"""Einsum, determinants and Fourier transforms in terms of products."""

from __future__ import annotations

from math import prod

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term


@decomposes("Einsum")
def einsum(at: Formula) -> Term | None:
    """Two operands with their axes in order: those in common and kept, those of one alone, those summed over."""
    read = _labels(at)
    if read is None:
        return None
    labels, wanted = read
    terms = []
    for index, own in enumerate(labels):
        others = set().union(*(set(other) for place, other in enumerate(labels) if place != index))
        alone = [own.index(label) for label in own if label not in others and label not in wanted]
        term = at.input(index)
        terms.append(term.over("ReduceSum", *alone, keepdims=False) if alone else term)
        labels[index] = [label for label in own if label in others or label in wanted]
    pairs = {pair for own, term in zip(labels, terms, strict=True) for pair in zip(own, term.shape, strict=True)}
    sizes = dict(pairs)
    if len(sizes) < len(pairs):
        return None  # an axis of one element that is repeated
    if len(terms) == 1:
        return _ordered(terms[0], labels[0], wanted)
    first, second = labels
    common = [label for label in first if label in second]
    kept, summed = ([label for label in common if (label in wanted) == is_kept] for is_kept in (True, False))
    left, right = ([label for label in own if label not in common] for own in (first, second))

    def matrices(term: Term, own: list[str], *groups: list[str]) -> Term:
        order = [label for group in groups for label in group]
        shape = [prod(sizes[label] for label in group) for group in groups]
        return _ordered(term, own, order).reshaped(*(shape if kept else shape[1:]))

    product = matrices(terms[0], first, kept, left, summed).to(
        "MatMul", matrices(terms[1], second, kept, summed, right)
    )
    made = [*kept, *left, *right]
    return _ordered(product.reshaped(*(sizes[label] for label in made)), made, wanted)


def _ordered(term: Term, labels: list[str], wanted: list[str]) -> Term:
    order = tuple(labels.index(label) for label in wanted)
    return term if order == tuple(range(len(order))) else term.transposed(*order)


def _labels(at: Formula) -> tuple[list[list[str]], list[str]] | None:
    """A label for each axis of the operands, and of the result; None where an operand's diagonal is meant."""
    equation = at.node.str("equation").replace(" ", "")
    written, arrow, result = equation.partition("->")
    labels = []
    for index, part in enumerate(written.split(",")):
        before, dots, after = part.partition("...")
        hidden = len(at.input(index).shape) - len(before) - len(after) if dots else 0
        labels.append([*before, *_hidden(hidden), *after])
    every = [label for own in labels for label in own]
    if len(labels) > 2 or any(len(set(own)) < len(own) for own in labels):
        return None
    most = max((sum(len(label) > 1 for label in own) for own in labels), default=0)
    if not arrow:
        return labels, [
            *_hidden(most),
            *sorted(label for label in every if len(label) == 1 and every.count(label) == 1),
        ]
    before, dots, after = result.partition("...")
    return labels, [*before, *(_hidden(most) if dots else []), *after]


def _hidden(count: int) -> list[str]:
    """Labels of the axes that an ellipsis stands for, which operands have in common from the last on."""
    return [f"...{index}" for index in reversed(range(count))]


@decomposes("Det")
def determinant(at: Formula) -> Term | None:
    """Of matrices of two rows: ad - bc."""
    x = at.input(0)
    if x.shape[-2:] != (2, 2):
        return None
    rows = x.reshaped(*x.shape[:-2], 4)
    a, b, c, d = (rows.part(len(x.shape) - 2, place, place + 1) for place in range(4))
    return (a * d - b * c).reshaped(*x.shape[:-2])


@decomposes("DFT")
def fourier(at: Formula) -> Term | None:
    """Products with cosines and sines; the last axis holds a real part and, where there is one, an imaginary one."""
    x, length = at.input(0), at.constant(1)
    axis, last = at.node.int("axis", 1) % len(x.shape), len(x.shape) - 1
    size = x.shape[axis]
    if at.has_input(1) and (length is None or int(length.item()) != size):
        return None
    inverse, made = bool(at.node.int("inverse")), at.info(at.node.output).shape[axis]
    angles = np.outer(np.arange(size), np.arange(made)) * (2 * np.pi / size)
    share = 1 / size if inverse else 1
    cosines, sines = ((share * curve(angles)).astype(np.float32) for curve in (np.cos, np.sin))
    order = [*(other for other in range(last) if other != axis), axis]
    parts = [x.part(last, part, part + 1).reshaped(*x.shape[:-1]) for part in range(x.shape[-1])]
    real, *imaginary = (part.transposed(*order) for part in parts)
    whole, turned = real.to("MatMul", cosines), real.to("MatMul", sines if inverse else -sines)
    for other in imaginary:
        whole, turned = whole + other.to("MatMul", -sines if inverse else sines), turned + other.to("MatMul", cosines)
    back = [order.index(place) for place in range(last)]
    both = [term.transposed(*back) for term in (whole, turned)]
    (joined,) = at.apply("Concat", [term.reshaped(*term.shape, 1) for term in both], {"axis": last})
    return joined
