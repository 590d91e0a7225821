"""What `edgefer run` finds in videos whose truth is known, on how few frames, how fast, and in how much memory.

    edgefer convert fer_b0 -o out/fer_b0
    python -m benchmarks.video out/fer_b0 [truth] [speed] [memory]

Each part replaces its own sections of results/video.json, of which results/video.md is made.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.composed_videos import Composition
from benchmarks.measured import signed
from benchmarks.video_scenes import REST, colour_videos, gray_videos
from benchmarks.video_truth import Score, following, score
from edgefer.bundle import Bundle
from edgefer.faces.blazeface import BlazeFace
from edgefer.faces.face import Detector, Face
from edgefer.host.detector_weights import blazeface_weights
from edgefer.host.files import write_whole
from edgefer.images import Image
from edgefer.runtime.runners import open_runner
from edgefer.timeline.asking import EveryNth
from edgefer.timeline.look import Looking, look
from edgefer.timeline.observed import Observed, Track
from edgefer.timeline.policy import calibrate
from edgefer.timeline.smoothing import Smoothing
from edgefer.timeline.timeline import face_lines
from edgefer.video.recordings import VideoFile

RESULTS = Path(__file__).parent / "results"
ACTORS = {"gray": 32, "colour": 6}
SMOOTHINGS = {
    "none": Smoothing("centred", {"expression": 0.0}),
    "centred, 0.5 s either side": Smoothing("centred", {"expression": 0.5}),
    "centred, 1.7 s either side (default)": Smoothing(),
    "causal, 1 s back": Smoothing("causal", {"expression": 0.5}),
    "causal, 3.4 s back (default with --causal)": Smoothing("causal"),
}
COMPARED = "centred, 0.5 s either side"
STRIDES = (30, 15, 5, 1)
ALPHAS = (0.05, 0.06, 0.1, 0.2)
ALPHA = 0.06
LEAST_F1 = 0.95
"""Of the float network's."""
FEWEST_EVENTS = 50
"""To judge by."""
CLIP_S = 120
LONG_MINUTES = 5

Section = dict[str, Any]


def main() -> int:
    """Measure what is named, or all, and write both files; 1 where a bound does not hold."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("parts", nargs="*", metavar="truth|speed|memory")
    given = arguments.parse_args()
    file = RESULTS / "video.json"
    kept: dict[str, Section] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    for part in given.parts or PARTS:
        kept |= PARTS[part](given.bundle)
        write_whole(file, json.dumps(kept, indent=1) + "\n")
    write_whole(RESULTS / "video.md", signed(render(kept), "faces", "timeline", "video"))
    return 0 if all(holds for section in kept.values() for holds in section["bounds"].values()) else 1


# What is found


def measure_truth(path: Path) -> dict[str, Section]:
    """Composed videos, looked at on every frame by each artifact; and what policies make of the same answers."""
    bundle = Bundle.open(path)
    found = {}
    for kind, make in (("gray", gray_videos), ("colour", colour_videos)):
        videos = make(ACTORS[kind])
        looked = [_looked(bundle, video) for video in videos]
        found[f"truth, {kind}"] = _judged(bundle, videos, looked)
        if kind == "gray":
            found["policy"] = _policies(bundle, [by_file[bundle.artifact("tflite").name] for by_file in looked])
    return found


def _looked(bundle: Bundle, video: Composition) -> Mapping[str, Observed]:
    """What each artifact says of a video, made into a file; faces are detected once."""
    detector = _Remembering(BlazeFace(blazeface_weights()))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = video.write(Path(folder) / "a.mp4")
        for artifact in bundle.artifacts:
            if (artifact.format, artifact.precision) == ("onnx", "int8"):
                continue  # holds the integers of the other
            network = open_runner(bundle.path / artifact.file, artifact.format)
            looking = Looking(detector, lambda run=network: EveryNth(run), bundle.spec)  # type: ignore[misc]
            found[artifact.file] = look(VideoFile(file, video.name), looking)
    print(video.name, file=sys.stderr)
    return found


class _Remembering:
    """A detector that looks at each frame once."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._found: dict[int, list[Face]] = {}

    def __call__(self, image: Image, source: str, frame: int) -> list[Face]:
        if frame not in self._found:
            self._found[frame] = self._detector(image, source, frame)
        return self._found[frame]


def _judged(bundle: Bundle, videos: Sequence[Composition], looked: Sequence[Mapping[str, Observed]]) -> Section:
    spec, int8 = bundle.spec, bundle.artifact("tflite").name
    reference = next(artifact.file for artifact in bundle.artifacts if artifact.precision == "float32")

    def total(file: str, smoothing: Smoothing, stride: int = 1) -> Section:
        scores = (
            score(video, _strided(each[file], stride), spec, smoothing, REST)
            for video, each in zip(videos, looked, strict=True)
        )
        return _plain(sum(scores, Score((), 0, 0)))

    files = {
        file: {name: total(file, smoothing) for name, smoothing in SMOOTHINGS.items()} for file in map(str, looked[0])
    }
    followed = [
        following(video, list(face_lines(each[int8], spec, Smoothing())))
        for video, each in zip(videos, looked, strict=True)
    ]
    ratios = {name: files[int8][name]["f1"] / max(row["f1"], 1e-9) for name, row in files[reference].items()}
    seen, switches = float(np.mean([each.seen for each in followed])), sum(each.switches for each in followed)
    return {
        "videos": len(videos),
        "seconds": sum(video.duration_s for video in videos),
        "actors": sum(len(video.actors) for video in videos),
        "seen": seen,
        "switches": switches,
        "returns": sum(each.returns for each in followed),
        "files": files,
        "strides": {str(stride): total(int8, SMOOTHINGS[COMPARED], stride) for stride in STRIDES},
        "bounds": {
            "no identity changes while a face is in sight": switches == 0,
            **_int8_bound(ratios, files[reference][COMPARED]["true"]),
        },
    }


def _int8_bound(ratios: Mapping[str, float], events: int) -> dict[str, bool]:
    if events < FEWEST_EVENTS:
        return {}
    least = min(ratios.values())
    return {f"int8 has at least {LEAST_F1:g} of float's event F1 (least {least:.3f})": least >= LEAST_F1}


def _plain(found: Score) -> Section:
    delay = None
    if found.pairs:
        tenth, middle, most = (round(float(each), 3) for each in np.percentile(found.delays, [10, 50, 90]))
        delay = {"p10": tenth, "median": middle, "p90": most}
    return {"f1": round(found.f1, 4), "found": found.found, "true": found.true, "delay_s": delay}


def _strided(observed: Observed, stride: int) -> Observed:
    """As if the network had been asked on every so many frames."""

    def masked(track: Track) -> Track:
        asked = track.frames % stride == 0
        heads = {name: np.where(asked[:, np.newaxis], values, np.nan) for name, values in track.heads.items()}
        return replace(track, levels=np.where(asked, track.levels, 0), heads=heads)

    return replace(observed, tracks=tuple(map(masked, observed.tracks)))


def _policies(bundle: Bundle, observed: Sequence[Observed]) -> Section:
    made = {alpha: calibrate(observed, bundle.spec, "", alpha=alpha, strides=STRIDES) for alpha in ALPHAS}
    chosen = next(each for each in made[ALPHA].outcomes if each.name == made[ALPHA].recommended)
    return {
        "alphas": {
            f"{alpha:g}": {
                "recommended": policy.recommended,
                "calibrated": policy.calibrated,
                "outcomes": policy.to_dict()["outcomes"],
            }
            for alpha, policy in made.items()
        },
        "bounds": {
            f"{chosen.name}, recommended for alpha {ALPHA:g}, keeps it at 95 % confidence": chosen.keeps(ALPHA),
            "it agrees with the full rate in at least 97 % of windows": chosen.agreement >= 0.97,
            "it asks on at most 35 % of frames": chosen.inferred <= 0.35,
        },
    }


# What it costs


def measure_speed(path: Path) -> dict[str, Section]:
    """A clip of two minutes at 640x480, on one processor, from a cold start until all is written; three rounds."""
    with tempfile.TemporaryDirectory() as folder:
        file = _long_clip(Path(folder), CLIP_S)
        rounds = sorted(
            (_run(path, file, Path(folder) / f"out{turn}") for turn in range(3)), key=lambda cost: cost.cpu_s
        )
    return {
        "speed": {
            "seconds": CLIP_S,
            "processor_ratios": [round(CLIP_S / cost.cpu_s, 2) for cost in rounds],
            "wall_ratios": [round(CLIP_S / cost.wall_s, 2) for cost in rounds],
            "bounds": {"at least twice real time on one core, by processor time": CLIP_S / rounds[1].cpu_s >= 2},
        }
    }


def measure_memory(path: Path) -> dict[str, Section]:
    """Resident memory while a long video is looked at, once a second."""
    with tempfile.TemporaryDirectory() as folder:
        file = _long_clip(Path(folder), 60 * LONG_MINUTES)
        cost = _run(path, file, Path(folder) / "out")
    seconds, (times, mib) = cost.wall_s, np.array(cost.resident).T
    looking = (times > 0.1 * seconds) & (times < 0.95 * seconds)
    slope = float(np.polyfit(times[looking] / seconds * LONG_MINUTES, mib[looking], 1)[0])
    tenths = [round(float(np.interp(share * seconds, times, mib)), 1) for share in np.arange(1, 10) / 10]
    return {
        "memory": {
            "minutes": LONG_MINUTES,
            "resident_mib_at_tenths": tenths,
            "peak_mib": round(float(mib.max()), 1),
            "mib_per_hour_of_video": round(60 * slope, 1),
            "bounds": {"an hour of video adds at most 100 MiB": 60 * slope <= 100},
        }
    }


def _long_clip(folder: Path, seconds: int) -> Path:
    """A composed video of one face, ten seconds of it over and over."""
    return replace(gray_videos(ACTORS["gray"])[0], duration_s=10.0).write(folder / "long.mp4", seconds // 10)


@dataclass(frozen=True)
class _Cost:
    """Of one `edgefer run`: seconds, and its resident MiB by time."""

    wall_s: float
    cpu_s: float
    resident: list[tuple[float, float]]


def _run(bundle: Path, file: Path, output: Path) -> _Cost:
    """On one processor."""
    command = ["taskset", "-c", str(max(os.sched_getaffinity(0))), sys.executable, "-m", "edgefer"]
    command += ["run", str(bundle), str(file), "-o", str(output), "--workers", "1", "-q"]
    resident = []
    begun = time.monotonic()
    process = subprocess.Popen(command)
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        text = Path(f"/proc/{process.pid}/status").read_text("ascii")
        if "VmRSS" in text:
            resident.append((time.monotonic() - begun, int(text.split("VmRSS:")[1].split()[0]) / 1024))
        time.sleep(0.1)
    if status:
        raise SystemExit(f"edgefer run ended with code {os.waitstatus_to_exitcode(status)}")
    return _Cost(time.monotonic() - begun, used.ru_utime + used.ru_stime, resident)


PARTS = {"truth": measure_truth, "speed": measure_speed, "memory": measure_memory}


def render(kept: Mapping[str, Section]) -> str:
    """All sections as one page."""
    lines = ["# `edgefer run` on video", ""]
    for name, section in kept.items():
        if name.startswith("truth"):
            lines += _truth_lines(name, section)
        elif name == "policy":
            lines += _policy_lines(section)
        elif name == "speed":
            ratios = section["processor_ratios"]
            lines += [
                "## Speed",
                "",
                f"{ratios[1]:.1f} times real time by processor time (median; {min(ratios):.1f} to {max(ratios):.1f} in "
                f"{len(ratios)} rounds), and {max(section['wall_ratios']):.1f} times by the clock in the quietest "
                f"round on a machine in use: {section['seconds']} s of 640x480 at 30 frames per second with one "
                "face, on one core, BlazeFace and the network on every frame, from a cold start until the report is "
                "written.",
            ]
        else:
            tenths = ", ".join(f"{mib:.0f}" for mib in section["resident_mib_at_tenths"])
            lines += [
                "## Memory",
                "",
                f"{section['minutes']} minutes of the same, resident MiB at each tenth: {tenths}.",
            ]
            lines[-1] += f"  An hour of video adds {section['mib_per_hour_of_video']:.0f} MiB: times, boxes and scores."
            lines[-1] += f"  Writing tables and page at the end takes it to {section['peak_mib']:.0f} MiB."
        lines += [
            "",
            *(f"- {'holds' if holds else '**does not hold**'}: {it}" for it, holds in section["bounds"].items()),
        ]
        lines.append("")
    return "\n".join(lines)


def _truth_lines(name: str, section: Section) -> list[str]:
    first = next(iter(section["files"].values()))
    lines = [
        f"## {name.capitalize()} faces",
        "",
        f"{section['videos']} videos, {section['seconds']:.0f} s, {section['actors']} faces, "
        f"each of stills that no other has.  One is known on {100 * section['seen']:.1f} % of frames that have one; "
        f"identities changed {section['switches']} times, "
        f"and {section['returns']} times after more than two seconds out of the detector's sight.",
        "",
        f"{next(iter(first.values()))['true']} events are true.  "
        "Event F1 at an overlap (IoU) of 0.5; how late the onsets of found ones are "
        "(median, 10th and 90th percentile).  Neutral is no event; one found too late to share half of its time "
        "is missed, which is what causal means over seconds cost:",
        "",
        "| smoothing | " + " | ".join(section["files"]) + " | late, s |",
        "|---|" + "---:|" * (len(section["files"]) + 1),
    ]
    for smoothing, row in first.items():
        cells = (f"{rows[smoothing]['f1']:.3f}" for rows in section["files"].values())
        delay = row["delay_s"]
        late = f"{delay['median']:.2f} ({delay['p10']:.2f} to {delay['p90']:.2f})" if delay else ""
        lines.append(f"| {smoothing} | {' | '.join(cells)} | {late} |")
    strides = ", ".join(f"{stride}: {row['f1']:.3f}" for stride, row in section["strides"].items())
    return [*lines, "", f"The int8 TFLite file on every so many frames, {COMPARED}: F1 {strides}."]


def _policy_lines(section: Section) -> list[str]:
    lines = [
        "## On how few frames",
        "",
        "Thresholds are chosen on half of the gray videos and judged on the others, in windows of a second, against "
        "the answer at the full rate.  That thresholds spend half of alpha was decided after looking at these videos.",
        "",
        "| alpha | | right, % | wrong at most, %, at 95 % confidence | frames asked on, % | keeps alpha | |",
        "|---:|---|---:|---:|---:|---|---|",
    ]
    for alpha, made in section["alphas"].items():
        for each in made["outcomes"]:
            right, upper, inferred = (100 * each[key] for key in ("agreement", "upper", "inferred"))
            keeps = "yes" if each["upper"] <= float(alpha) else "not shown"
            chosen = "recommended" if each["name"] == made["recommended"] else ""
            lines.append(
                f"| {alpha} | {each['name']} | {right:.1f} | {upper:.1f} | {inferred:.1f} | {keeps} | {chosen} |"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
