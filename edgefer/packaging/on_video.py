"""What an app does with a camera's frames, as data: when it asks the network, and how it smooths what that says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgefer.bundle import Bundle
from edgefer.errors import about
from edgefer.packaging.markdown import table
from edgefer.timeline.levels import Levels
from edgefer.timeline.policy import Policy, read_policy
from edgefer.timeline.score_names import main_head
from edgefer.timeline.smoothing import Smoothing

SCHEMA = "edgefer.video/1"
CAUSAL = Smoothing("causal")
EVERY_FRAME = Levels(1.0, (1,), (0.0,))


def read_policy_for(bundle: Bundle, path: Path) -> Policy:
    """A policy that `edgefer policy` wrote about one of the bundle's int8 artifacts, which hold the same integers.

    Raises:
        InputError: it cannot be read, or was calibrated with another network.
    """
    with about(path):
        policy = read_policy(path)
        policy.check([artifact.sha256 for artifact in bundle.artifacts if not artifact.is_reference], bundle.spec)
    return policy


def video_json(bundle: Bundle, policy: Policy | None) -> bytes:
    """video.json, schema `edgefer.video/1`."""
    head = main_head(bundle.spec)
    levels = policy.levels if policy else EVERY_FRAME
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "name": bundle.name,
        "gap_s": CAUSAL.gap_s,
        "outputs": [
            {
                "name": output.name,
                "values": len(output.labels),
                "back_s": 2 * CAUSAL.half(output.kind),
                "lag_s": CAUSAL.lag(output.kind),
            }
            for output in bundle.spec.outputs
        ],
        "levels": {
            "output": (head or bundle.spec.outputs[0]).name,
            "window_s": levels.window_s,
            "strides": list(levels.strides),
            "thresholds": list(levels.thresholds),
        },
        "policy": policy and policy.to_dict(),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def video_text(bundle: Bundle, policy: Policy | None) -> str:
    """The same for people: a section of PREPROCESSING.md."""
    rows = (
        (output.name, f"{2 * CAUSAL.half(output.kind):g} s", f"{CAUSAL.lag(output.kind):g} s")
        for output in bundle.spec.outputs
    )
    return _TEXT.format(
        asked=_EVERY_FRAME if policy is None else _asked(policy),
        gap=f"{CAUSAL.gap_s:g}",
        widths=table(("output", "mean over the last", "so a change comes late by"), rows),
    )


def _asked(policy: Policy) -> str:
    outcome = next(each for each in policy.outcomes if each.name == policy.recommended)
    strides = " or ".join(f"every {stride}th" if stride > 1 else "every" for stride in policy.levels.strides)
    against = "the labels" if policy.against == "labels" else "the answer at the full rate"
    return _ASKED.format(
        strides=strides,
        inferred=f"{100 * outcome.inferred:.0f} %",
        against=against,
        agreement=f"{100 * outcome.agreement:.1f} %",
        windows=f"{outcome.windows:,}",
    )


_EVERY_FRAME = "Ask the network on every frame; `edgefer package --policy` brings a policy that asks on fewer"

_ASKED = """\
Ask the network on {strides} frame, as `levels` says: on {inferred} of the frames, this policy's answers
   agreed with {against} in {agreement} of {windows} windows of people that it was not calibrated on.
   Frames of the first level are asked on as they come; at the end of a window, those of the next levels, until the mean
   of a level is as sure as its threshold: keep their pixels"""

_TEXT = """\
## Video

`video.json` says this as data, `FaceTimeline` of the samples does it, `golden/traces.json` proves that an app does.

1. Find the faces, follow each from frame to frame by its box, and keep a `FaceTimeline` for each. Cut each out as
   above: round half to even; what lies outside of the picture repeats its edge.
2. Count frames from the first, with a face or without, and take their times from the camera.
3. {asked}.
4. Show means over time, not single answers, which tremble: the mean of the line through the answers that are known.

{widths}5. A face out of sight for at most {gap} s is held; after a longer time, nothing is known, and it begins anew.

"""
