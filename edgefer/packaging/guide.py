"""README.md of a package: what is in it, and the four steps to a working integration."""

from __future__ import annotations

from collections.abc import Sequence

from edgefer.bundle import Artifact
from edgefer.packaging.markdown import plain
from edgefer.packaging.sample import Sample


def guide(name: str, artifacts: Sequence[Artifact], samples: Sequence[Sample], browser_demo: bool) -> bytes:
    """README.md.

    Args:
        name: of the network.
        artifacts: the files in models/.
        samples: those in the package.
        browser_demo: whether the demo page has the library that it needs.
    """
    models = "".join(f"| `models/{artifact.file}` | the network, {artifact.precision} |\n" for artifact in artifacts)
    rows = "".join(f"| {sample.platform} | `{sample.folder}` | {sample.needs} |\n" for sample in samples)
    has_page = any(sample.folder == "browser" for sample in samples)
    demo = _DEMO if browser_demo else _NO_DEMO if has_page else ""
    exact = _EXACT if any(artifact.format == "onnx" for artifact in artifacts) else ""
    return _TEXT.format(title=plain(name), name=name, models=models, samples=rows, exact=exact, demo=demo).encode()


_TEXT = """\
# {title}

| | |
|---|---|
{models}| `labels.txt` | names of the outputs' values, in order |
| `PREPROCESSING.md`, `preprocessing.json` | what to feed it, and what comes out |
| `video.json` | for video: on which frames to ask it, and how to smooth its answers |
| `golden/` | images with the exact input and output, and traces over time: the test of your integration |
| `MODEL_CARD.md` | what it is for, what it cannot do, what was measured, the law |
| `sbom.cdx.json` | bill of materials, CycloneDX |
| `SHA256SUMS` | `sha256sum --check SHA256SUMS` |

## Four steps

1. Read `PREPROCESSING.md`. It is a page, and the mistakes that it prevents are the usual ones.
2. Start from the sample for your platform:

| on | in | needs |
|---|---|---|
{samples}
   For faces in video, each has a `FaceTimeline` beside it, which follows `video.json`.
3. Run the golden tests in your app, on your devices: every sample has them.{exact}
4. Read `MODEL_CARD.md` before you ship: its limits and the law are yours, too.
{demo}
The samples and the page are edgefer's, under Apache-2.0; `sbom.cdx.json` names what others made. The licence of the
network is in `MODEL_CARD.md`.

## Is it genuine?

With edgefer: `edgefer verify {name}.zip --key maker.pub`. With OpenSSH alone, where a signature came along:

    echo "maker $(cat maker.pub)" > signers
    ssh-keygen -Y verify -f signers -I maker -n edgefer.package -s {name}.zip.sig < {name}.zip
"""

_EXACT = """
   Where ONNX Runtime is to run on x86 without VNNI, open its session with `session.x64quantprecision` set to 1, as the
   samples do: without it sums saturate there, and the golden tests fail and say so. Elsewhere it only costs time.
   ONNX Runtime 1.21 to 1.24 get some int8 products wrong on x86: take 1.25 or newer."""

_DEMO = """
## Demo in a browser

    python3 -m http.server --bind 127.0.0.1

in this directory, then open `http://localhost:8000/browser/`. Any static file server will do; nothing is loaded from
elsewhere, and no image leaves the page. It finds the face before the camera with BlazeFace, follows it, and cuts it out
as the network was trained: `face_detector.mjs`, `faces.mjs` and `face_timeline.mjs` are there for your own page, too.
"""

_NO_DEMO = """
## Demo in a browser

`browser/` holds the page; it needs onnxruntime-web, which was left out of this package. Either have it packaged with
`--browser-demo`, or put `ort.wasm.bundle.min.mjs` and `ort-wasm-simd-threaded.wasm` of the npm package into
`browser/onnxruntime-web/`. The face detector was left out, too; without it the page has a square that you move.
"""
