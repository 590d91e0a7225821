"""Products with vectors, Einsum, determinants and Fourier transforms in terms of products."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TypeAlias

import numpy as np

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_LARGEST_RANK = 5  # that runtimes multiply element by element

_Labelled: TypeAlias = tuple[Term, list[str]]
"""A term, and a label for each of its axes."""


@decomposes("MatMul")
def of_a_vector(at: Formula) -> Term | None:
    """A vector is a matrix of one column; one on the left turns what it is multiplied with."""
    left, right = at.input(0), at.input(1)
    if min(len(left.shape), len(right.shape)) > 1:
        return None
    if len(right.shape) == 1:
        matrix, vector = (left if len(left.shape) > 1 else left.reshaped(1, *left.shape)), right
    else:
        last = len(right.shape) - 1
        matrix, vector = right.transposed(*range(last - 1), last, last - 1), left
    return matrix.to("MatMul", vector.reshaped(*vector.shape, 1)).reshaped(*at.info(at.node.output).shape)


@decomposes("Einsum")
def einsum(at: Formula) -> Term | None:
    """Diagonals are picked, what one operand has alone is summed, and operands are joined two at a time."""
    labels, wanted = _labels(at)
    terms = []
    for index, own in enumerate(labels):
        term, labels[index] = _diagonal(at.input(index), own)
        terms.append(term)
    for index, own in enumerate(labels):
        needed = set(wanted).union(*(other for place, other in enumerate(labels) if place != index))
        alone = [own.index(label) for label in own if label not in needed]
        if alone:
            terms[index] = terms[index].over("ReduceSum", *alone, keepdims=False)
            labels[index] = [label for label in own if label in needed]
    pairs = {pair for own, term in zip(labels, terms, strict=True) for pair in zip(own, term.shape, strict=True)}
    sizes = dict(pairs)
    if len(sizes) < len(pairs):
        return None  # an axis of one element that is repeated
    made, term = labels[0], terms[0]
    for index in range(1, len(terms)):
        needed = set(wanted).union(*labels[index + 1 :])
        term, made = _joined((term, made), (terms[index], labels[index]), needed, sizes)
    return _ordered(term, made, wanted)


def _diagonal(term: Term, own: list[str]) -> _Labelled:
    """The elements whose places along axes of the same label are the same."""
    labels = list(dict.fromkeys(own))
    if len(labels) == len(own):
        return term, own
    places = np.arange(prod(term.shape)).reshape(term.shape)
    places = np.einsum(places, [labels.index(label) for label in own], list(range(len(labels))))
    row = term.reshaped(prod(term.shape))
    return row.to("Gather", places.reshape(-1), axis=0).reshaped(*places.shape), labels


def _joined(first: _Labelled, second: _Labelled, needed: set[str], sizes: Mapping[str, int]) -> _Labelled:
    """A product, summed over axes in common that are not needed: element by element, or of matrices."""
    common = [label for label in first[1] if label in second[1]]
    kept, summed = ([label for label in common if (label in needed) == is_kept] for is_kept in (True, False))
    left, right = ([label for label in own if label not in common] for _, own in (first, second))

    if not summed and len(kept) + len(left) + len(right) <= _LARGEST_RANK:
        made = [*first[1], *right]
        term, own = second
        beside = _ordered(term, own, [label for label in made if label in own])
        beside = _shaped(beside, [sizes[label] if label in own else 1 for label in made])
        return _shaped(first[0], [*first[0].shape, *(1 for _ in right)]) * beside, made

    def matrices(labelled: _Labelled, *groups: list[str]) -> Term:
        order = [label for group in groups for label in group]
        shape = [prod(sizes[label] for label in group) for group in groups]
        return _shaped(_ordered(*labelled, order), shape if kept else shape[1:])

    product = matrices(first, kept, left, summed).to("MatMul", matrices(second, kept, summed, right))
    made = [*kept, *left, *right]
    return _shaped(product, [sizes[label] for label in made]), made


def _shaped(term: Term, shape: list[int]) -> Term:
    return term if term.shape == tuple(shape) else term.reshaped(*shape)


def _ordered(term: Term, labels: list[str], wanted: list[str]) -> Term:
    order = tuple(labels.index(label) for label in wanted)
    return term if order == tuple(range(len(order))) else term.transposed(*order)


def _labels(at: Formula) -> tuple[list[list[str]], list[str]]:
    """A label for each axis of the operands, and of the result."""
    equation = at.node.str("equation").replace(" ", "")
    written, arrow, result = equation.partition("->")
    labels = []
    for index, part in enumerate(written.split(",")):
        before, dots, after = part.partition("...")
        hidden = len(at.input(index).shape) - len(before) - len(after) if dots else 0
        labels.append([*before, *_hidden(hidden), *after])
    every = [label for own in labels for label in own]
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
