"""The model card: what the network is for, what it cannot do, what was measured, and what the law says."""

from __future__ import annotations

from collections.abc import Iterator

from edgefer.bundle import Bundle
from edgefer.host.text import counted
from edgefer.host.units import format_size
from edgefer.packaging.figures import METRICS, SHARES, Evidence, Figure, HeadEvidence
from edgefer.packaging.markdown import code, facts, plain, table
from edgefer.packaging.provenance import Provenance

EMOTIONAL = ("expression", "valence_arousal", "action_units")
"""Kinds of outputs that say something about people's faces."""


def model_card(bundle: Bundle, provenance: Provenance, evidence: Evidence | None, licence: str, about: str) -> bytes:
    """MODEL_CARD.md.

    Args:
        bundle: what is packaged.
        provenance: where it comes from.
        evidence: an evaluation of it, None where there is none.
        licence: of the network, as its makers state it; empty when unknown.
        about: what its makers say of it, in Markdown; empty when they say nothing.
    """
    is_emotional = any(output.kind in EMOTIONAL for output in bundle.spec.outputs)
    sections = (
        f"# {plain(bundle.name)}: model card\n\n{_facts(bundle, provenance, licence)}",
        _USE if is_emotional else _OTHER_USE,
        _evaluated(evidence) if evidence else _NOT_EVALUATED,
        _provenance(provenance),
        _LAW if is_emotional else "",
        f"## From its makers\n\n{about.strip()}\n" if about.strip() else "",
    )
    return "".join(sections).rstrip().encode() + b"\n"


def _facts(bundle: Bundle, provenance: Provenance, licence: str) -> str:
    height, width = bundle.spec.input.size
    artifacts = [artifact for artifact in bundle.artifacts if not artifact.is_reference]
    cost = f"{artifacts[0].macs / 1e6:,.1f} M multiply-accumulates a frame"
    return facts(
        (
            ("input", f"face crop, {width} x {height}, uint8 RGB: `PREPROCESSING.md`"),
            *(
                (f"output {code(output.name)}", f"{output.kind.replace('_', ' ')}: {plain(', '.join(output.labels))}")
                for output in bundle.spec.outputs
            ),
            ("network", f"{provenance.parameters:,} parameters, {cost}"),
            *_removed(provenance),
            *(
                (code(f"models/{a.file}"), f"{format_size(a.bytes)}, {a.precision}, SHA-256 {code(a.sha256)}")
                for a in artifacts
            ),
            ("licence of the network", plain(licence) or "**not stated**: ask its maker before you ship it"),
        )
    )


def _removed(provenance: Provenance) -> Iterator[tuple[str, str]]:
    """What the network was before channels were removed, where any were."""
    if not (found := provenance.shrunk):
        return
    rest = "were fitted by least squares, and not learned again"
    if provenance.learned_steps:
        rest = f"were learned again, on {counted(found['images'], 'image')}, to answer as the original does"
    yield (
        "made smaller",
        f"channels that mattered least were removed, of {found['parameters_before']:,} parameters and "
        f"{found['macs_before'] / 1e6:,.1f} M multiply-accumulates; the weights of the rest {rest}",
    )


def _evaluated(evidence: Evidence) -> str:
    source = f"{evidence.samples:,} images of {plain(evidence.source)}, SHA-256 {code(evidence.sha256)}"
    intro = f"## Evaluation\n\n{source}.\nIn brackets: 95 % bootstrap intervals over images.\n\n"
    return intro + "".join(map(_head, evidence.heads))


def _head(head: HeadEvidence) -> str:
    measured = [key for key in METRICS if any(key in figures for figures in head.figures.values())]
    text = f"### Output {code(head.name)}, {head.labelled:,} images labelled\n\n" + table(
        ["", *map(plain, head.figures)],
        ([METRICS[key], *(_figure(figures.get(key), key) for figures in head.figures.values())] for key in measured),
    )
    if not head.recall:
        return text
    recall = table(
        ["", *map(plain, head.recall)],
        (
            [plain(label), *(_percent(found.get(label)) for found in head.recall.values())]
            for label in next(iter(head.recall.values()))
        ),
    )
    return f"{text}Recall by class: whoever shows what is recognised less often is wronged more often.\n\n{recall}"


def _figure(figure: Figure | None, key: str) -> str:
    if figure is None:
        return ""
    written = _percent if key in SHARES else "{:.3f}".format
    ends = f" ({written(figure.ci95[0])} to {written(figure.ci95[1])})" if figure.ci95 else ""
    return written(figure.value) + ends


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _provenance(provenance: Provenance) -> str:
    images = f"{provenance.calibration_count:,} images of {plain(provenance.calibration)}"
    told = facts(
        (
            ("converted from", f"{code(provenance.source)}, SHA-256 {code(provenance.source_sha256)}"),
            ("by", plain(f"edgefer {provenance.version}, {provenance.created}")),
            ("with", plain(", ".join(f"{tool} {version}" for tool, version in provenance.tools.items()))),
            ("calibrated on", f"{images}, SHA-256 {code(provenance.calibration_sha256)}"),
            ("quantization", plain(provenance.scheme)),
        )
    )
    return f"## Provenance\n\n{told}"


_USE = """\
## Intended use

Telling which facial expression a face crop shows, on the device, for people who know of it and want it: playful
interfaces, accessibility, research. A smile score is the probability of *happy*.

Not for decisions about people, and not where the law forbids it (below).

## Limits

- A facial expression is not a feeling. The network sees the one and knows nothing of the other.
- It names an expression for any image, also where there is no face: put a face detector before it.
- Accuracy across age, sex, skin colour, disability and culture is **unknown** unless measured, and must be assumed
  to differ. Measure it on people like those who will use the app.
- Profiles, masks, strong shadows, small and blurred faces fail more often than frontal, sharp ones.
- One frame says little: smooth over time before anything depends on it.

"""

_OTHER_USE = """\
## Intended use

Not stated by edgefer, which converted the network: see what its makers say.

"""

_NOT_EVALUATED = """\
## Evaluation

**Not evaluated.** No accuracy was measured for these files when they were packaged: do not ship them on trust. Their
maker can: `edgefer evaluate BUNDLE --data FACES --json E.json`, then `edgefer package BUNDLE --evaluation E.json`.

"""

_LAW = """\
## Law

European Union, AI Act (Regulation (EU) 2024/1689):

- **Forbidden** since 2 February 2025, Article 5(1)(f): inferring emotions of people in the workplace and in education
  institutions, except for medical or safety reasons.
- **High-risk** otherwise where used for emotion recognition, Article 6(2) with Annex III, point 1(c), with the duties
  of Articles 8 to 27 on providers and deployers.
- **Transparency**, Article 50(3): whoever deploys it must inform the people exposed to it.
- Images of faces are personal data (GDPR, Regulation (EU) 2016/679), and biometric data where they identify someone.
  Processing on the device, without keeping frames, is the easiest to justify.

This is no legal advice.

"""
