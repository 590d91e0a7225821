"""Gates: whether a bundle may pass, told from evidence against bounds and a baseline.

result = edgefer.check("fer_b0_bundle", "baseline.json", evaluation="evaluation.json")
result.outcome                                 # 'pass', 'fail' or 'unknown'
[d.gate for d in result.decisions if d.outcome == "fail"]
"""

from edgefer.gates.results import Check, Decision
from edgefer.gates.run import check

__all__ = ["Check", "Decision", "check"]
