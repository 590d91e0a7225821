"""The small real bundle that the action and the pytest plugin are tried on."""

from tests.evaluation.conftest import tiny

__all__ = ["tiny"]
