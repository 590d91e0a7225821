"""Plans that tests make worse than they need to be."""

from dataclasses import replace


def with_coarse_weights(plan, factor):
    """The Plan with scales of weights and biases `factor` times as large, so that rounding weights does harm."""
    coarse = {
        name: replace(params, scale=tuple(factor * scale for scale in params.scale))
        for name, params in plan.tensors.items()
        if params.narrow or params.dtype == "int32"
    }
    return replace(plan, tensors={**plan.tensors, **coarse})
