"""Activations in terms of exponentials, logarithms, limits and products."""

from __future__ import annotations

from edgefer.graph.passes.decompositions.table import decomposes
from edgefer.graph.passes.formula import Formula, Term

_SELU_ALPHA = 1.6732631921768188
_SELU_GAMMA = 1.0507010221481323

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_P = 0.3275911


@decomposes("HardSigmoid")
def hard_sigmoid(at: Formula) -> Term:
    """clip(alpha * x + beta, 0, 1), by a Relu6, which both runtimes have in int8."""
    alpha, beta = at.node.float("alpha", 0.2), at.node.float("beta", 0.5)
    return (at.input(0) * (6 * alpha) + 6 * beta).to("Clip", 0.0, 6.0) * (1 / 6)


@decomposes("PRelu")
def prelu(at: Formula) -> Term | None:
    """One slope for all is a LeakyRelu."""
    slope = at.constant(1)
    if slope is None or slope.min() != slope.max():
        return None
    return at.input(0).to("LeakyRelu", alpha=float(slope.flat[0]))


@decomposes("Softplus")
def softplus(at: Formula) -> Term:
    """log(1 + exp(x)), without overflow."""
    x = at.input(0)
    return x.to("Max", 0.0) + ((-x.to("Abs")).to("Exp") + 1.0).to("Log")


@decomposes("Mish")
def mish(at: Formula) -> Term:
    """X * tanh(softplus(x)) = x * t / (2 - t) where t = s * (2 - s) and s = sigmoid(x): no step is larger than 2."""
    x = at.input(0)
    s = x.to("Sigmoid")
    t = s * (2.0 - s)
    return t / (2.0 - t) * x


@decomposes("Softsign")
def softsign(at: Formula) -> Term:
    """X / (1 + |x|)."""
    x = at.input(0)
    return x / (x.to("Abs") + 1.0)


@decomposes("Elu", "Celu", "Selu")
def elu(at: Formula) -> Term | None:
    """Those with an alpha of their own, by the one whose alpha is 1, which runtimes have.

    Celu is alpha * Elu(x / alpha); the others are x where positive, and a multiple of Elu(x) where negative.
    """
    if at.node.op == "Celu":
        alpha = at.node.float("alpha", 1.0)
        return (at.input(0) * (1 / alpha)).to("Elu") * alpha
    alpha, gamma = at.node.float("alpha", 1.0), 1.0
    if at.node.op == "Selu":
        alpha, gamma = at.node.float("alpha", _SELU_ALPHA), at.node.float("gamma", _SELU_GAMMA)
    elif alpha == 1.0:
        return None
    x = at.input(0)
    return (x.to("Max", 0.0) * gamma) + (x.to("Min", 0.0).to("Elu") * (alpha * gamma))


@decomposes("Sign")
def sign(at: Formula) -> Term:
    """-1, 0 or 1: what is left of 0 rounded down, what is right of it rounded up, of numbers that round to no more."""
    near = at.input(0).to("Max", -0.5).to("Min", 0.5)
    return near.to("Ceil") + near.to("Floor")


@decomposes("ThresholdedRelu")
def thresholded_relu(at: Formula) -> Term:
    """X where it is above alpha, else 0."""
    x = at.input(0)
    return _is_positive(x - at.node.float("alpha", 1.0)) * x


@decomposes("Shrink")
def shrink(at: Formula) -> Term:
    """X without what lies between -lambd and lambd, the rest brought nearer to 0 by bias."""
    x, limit, bias = at.input(0), at.node.float("lambd", 0.5), at.node.float("bias", 0.0)
    return _is_positive(x - limit) * (x - bias) + _is_positive(-x - limit) * (x + bias)


def _is_positive(x: Term) -> Term:
    """1 or 0: what is limited to 0 to 1, rounded up."""
    return x.to("Max", 0.0).to("Min", 1.0).to("Ceil")


@decomposes("LogSoftmax")
def log_softmax(at: Formula) -> Term:
    """X - log(sum(exp(x))), of numbers that are 0 or less."""
    x = at.input(0)
    axis = at.node.int("axis", -1) % len(x.shape)
    below = x - x.over("ReduceMax", axis)
    return below - below.to("Exp").over("ReduceSum", axis).to("Log")


@decomposes("Erf")
def erf(at: Formula) -> Term:
    """Abramowitz and Stegun, 7.1.26: within 1.5e-7."""
    x = at.input(0)
    size = x.to("Abs")
    t = (size * _ERF_P + 1.0).to("Reciprocal")
    polynomial = t * _ERF[-1]
    for coefficient in reversed(_ERF[:-1]):
        polynomial = (polynomial + coefficient) * t
    return x.to("Sign") * (1.0 - polynomial * (-(x * x)).to("Exp"))


@decomposes("Sinh", "Cosh")
def hyperbolic(at: Formula) -> Term:
    """(exp(x) - exp(-x)) / 2, or their sum."""
    x = at.input(0)
    grown, shrunk = x.to("Exp"), (-x).to("Exp")
    return (grown - shrunk if at.node.op == "Sinh" else grown + shrunk) * 0.5


@decomposes("Tan")
def tangent(at: Formula) -> Term:
    """Sine over cosine."""
    return at.input(0).to("Sin") / at.input(0).to("Cos")


@decomposes("Asinh")
def area_sine(at: Formula) -> Term:
    """log(|x| + sqrt(x² + 1)), with the sign of x."""
    x = at.input(0)
    return (x.to("Abs") + (x * x + 1.0).to("Sqrt")).to("Log") * x.to("Sign")


@decomposes("Acosh")
def area_cosine(at: Formula) -> Term:
    """log(x + sqrt(x² - 1))."""
    x = at.input(0)
    return (x + (x * x - 1.0).to("Sqrt")).to("Log")


@decomposes("Atanh")
def area_tangent(at: Formula) -> Term:
    """log((1 + x) / (1 - x)) / 2."""
    x = at.input(0)
    return ((x + 1.0) / (1.0 - x)).to("Log") * 0.5


@decomposes("Mod")
def remainder(at: Formula) -> Term | None:
    """Of real numbers, with the sign of the dividend."""
    if not at.node.int("fmod"):
        return None
    x, size, by = at.input(0), at.input(0).to("Abs"), at.input(1).to("Abs")
    return (size - by * (size / by).to("Floor")) * x.to("Sign")
