"""A policy as `edgefer policy` writes it."""

import json

from edgefer.timeline.levels import Levels
from edgefer.timeline.policy import Outcome, Policy

LEVELS = Levels(1.0, (15, 5, 1), (0.9, 0.6, 0.0))


def write_policy(path, network):
    """Of the artifact with that SHA-256."""
    outcome = Outcome("adaptive", 100, 1, 0.03, 0.2, (80, 15, 5))
    path.write_text(json.dumps(Policy(LEVELS, "adaptive", 0.05, "full rate", 90, network, (outcome,)).to_dict()))
    return path
