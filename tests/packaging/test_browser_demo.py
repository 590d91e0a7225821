"""The demo page as a browser runs it: the same outputs as on the host, readable, and with nothing from elsewhere."""

import base64
import json
import shutil
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import cv2
import numpy as np
import onnxruntime
import pytest

import edgefer
from edgefer.errors import EdgeferError
from edgefer.host.detector_weights import blazeface_weights
from edgefer.runtime.runners import tflite_interpreter
from edgefer.timeline.smoothing import Smoothing
from edgefer.video.recordings import VideoFile
from tests.packaging.golden_table import expected_values
from tests.report.browser import PROGRAM, Browser
from tests.report.test_report_in_browser import CONTRAST, OUTSIDE

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
LOOKS = 12
RECORD = """{
  const looks = (window.looks = []);
  document.addEventListener("look", ({ detail: { frame, time, image, target, values } }) => {
    if (looks.length === LOOKS) return;
    if (looks.length && looks[0].identity !== target.identity) looks.length = 0; // a stall, and the face was forgotten
    const { x, y, width, height } = target.face;
    const bytes = Array.from(image.data, (byte) => String.fromCharCode(byte)).join("");
    const seen = { frame, time, width: image.width, height: image.height, image: btoa(bytes) };
    looks.push({ ...seen, identity: target.identity, box: [x, y, width, height], values });
  });
  0;
}""".replace("LOOKS", str(LOOKS))
GOLDEN = """import("./expression.mjs").then(async ({ ExpressionModel, goldenTests }) =>
  goldenTests(await ExpressionModel.load()))"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def serve(folder):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/browser/"


@pytest.fixture(scope="module")
def app(fer_b0, tmp_path_factory, request):
    """The package with the demo, unpacked; onnxruntime-web is kept between runs."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(request.config.cache.mkdir("onnxruntime-web")))
        try:
            edgefer.package(fer_b0, folder / "app.zip", browser_demo=True)
        except EdgeferError as error:
            pytest.skip(f"needs onnxruntime-web and BlazeFace: {error.message}")
    shutil.unpack_archive(folder / "app.zip", folder / "app")
    return folder / "app"


@pytest.fixture(scope="module")
def url(app):
    server, address = serve(app)
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    tab = Browser(tmp_path_factory.mktemp("profile"), *CAMERA)
    yield tab
    tab.close()


def wait_for(browser, expression, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := browser.evaluate(f"Boolean({expression})")):
        assert time.monotonic() < deadline, f"{expression}: {browser.evaluate('document.body.innerText')}"
        time.sleep(0.1)
    return found


def show(browser, url, width=1280, scheme="light"):
    browser.show(SimpleNamespace(as_uri=lambda: url), width, scheme)
    wait_for(browser, "document.querySelectorAll('#drawings img').length")


def complaints(browser):
    return browser.seen("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


def text(browser, id):
    return browser.evaluate(f"document.getElementById('{id}').textContent")


def test_the_outputs_equal_those_of_the_host(browser, url, app):
    show(browser, url)
    assert text(browser, "golden") == "10 of 10 golden tests passed"
    answer = browser.call("Runtime.evaluate", expression=GOLDEN, awaitPromise=True, returnByValue=True)
    results = {result["name"]: result for result in answer["result"]["value"]}
    rows = [line.split("\t") for line in (app / "golden" / "expected.tsv").read_text().splitlines()]
    expected = {row[0]: row[2:] for row in rows if row[1] == "onnx"}
    assert results.keys() == expected.keys()
    for name, (tolerance, *values) in expected.items():
        np.testing.assert_allclose(results[name]["values"], np.array(values, float), atol=float(tolerance))
        assert results[name]["levels"] <= 1
        assert results[name]["passed"]


def test_the_detector_of_the_page_is_that_of_edgefer_run(app, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(request.config.cache.mkdir("onnxruntime-web")))
        weights = blazeface_weights()
    interpreter = tflite_interpreter(weights)
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 192, 192, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    session = onnxruntime.InferenceSession(app / "browser" / "blazeface" / "blazeface.onnx")
    found = {values.shape: values for values in session.run(None, {"pixels": pixels})}
    for output in interpreter.get_output_details():
        expected = interpreter.get_tensor(output["index"])
        np.testing.assert_allclose(found[expected.shape], expected, atol=1e-4 * np.abs(expected).max())


def test_what_others_made_is_named_in_the_bill_of_materials_with_its_licence(app):
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    bill = (app / "sbom.cdx.json").read_text()
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    licences = {each["name"]: each["licenses"] for each in json.loads(bill)["components"] if "licenses" in each}
    assert licences["BlazeFace (full range)"] == [{"license": {"id": "Apache-2.0"}}]
    assert licences["onnxruntime-web"] == [{"license": {"id": "MIT"}}]
    for folder, words in {"blazeface": "Apache License", "onnxruntime-web": "MIT License"}.items():
        assert words in (app / "browser" / folder / "LICENSE").read_text()
    assert "Changed by edgefer" in (app / "browser" / "blazeface" / "NOTICE").read_text()


def test_a_wrong_expectation_is_shown(browser, app, tmp_path):
    shutil.copytree(app, tmp_path / "app")
    table = tmp_path / "app" / "golden" / "expected.tsv"
    table.write_text(table.read_text().replace("happy\tonnx\t0.02\t0.", "happy\tonnx\t0.02\t0.9"))
    server, address = serve(tmp_path / "app")
    show(browser, address)
    server.shutdown()
    server.server_close()
    assert text(browser, "golden") == "9 of 10 golden tests passed"
    assert browser.evaluate("document.getElementById('golden').classList.contains('failed')")


def test_a_drawing_moves_bars_and_smile(browser, url, app):
    show(browser, url)
    browser.evaluate("document.querySelector('img[alt=\"drawing: happy\"]').parentElement.click(), 0")
    wait_for(browser, "document.querySelector('.top')")
    values = expected_values(app, "happy", "onnx")
    top = (app / "labels.txt").read_text().splitlines()[values.index(max(values))]
    assert browser.evaluate("document.querySelector('.top').textContent") == top
    score = text(browser, "score")
    rows = "[...document.querySelectorAll('.bar')].map(bar => bar.parentElement)"
    happy = f"{rows}.find(row => row.firstChild.textContent === 'happy')"
    assert score == browser.evaluate(f"{happy}.lastChild.textContent")
    assert int(browser.evaluate("document.getElementById('score').getAttribute('aria-valuenow')")) == int(
        score.split()[0]
    )
    assert text(browser, "network").endswith(" ms")
    assert text(browser, "said").startswith(f"{top}, ")


def test_the_crop_is_what_the_network_sees(browser, url):
    show(browser, url)
    browser.evaluate("document.querySelector('img[alt=\"drawing: happy\"]').parentElement.click(), 0")
    wait_for(browser, "document.querySelector('.top')")
    whole = text(browser, "score")
    slider = "const s = document.getElementById('size'); s.value = 20; s.dispatchEvent(new Event('input')); 0"
    browser.evaluate(f"{{ {slider} }}")
    wait_for(browser, f"document.getElementById('score').textContent !== '{whole}'")


def test_the_camera_runs_until_it_is_stopped(browser, url):
    show(browser, url)
    browser.evaluate("document.getElementById('camera').click(), 0")
    wait_for(browser, "document.getElementById('rate').textContent.endsWith('fps')")
    assert text(browser, "camera") == "Stop camera"
    browser.evaluate("document.getElementById('camera').click(), 0")
    wait_for(browser, "document.getElementById('rate').textContent === 'off'")
    assert text(browser, "camera") == "Use camera"
    assert complaints(browser) == []


@pytest.fixture(scope="module")
def on_camera(shared, tmp_path_factory):
    """A browser whose camera shows a person."""
    folder = tmp_path_factory.mktemp("camera")
    with (folder / "camera.mjpeg").open("wb") as file:
        for frame in VideoFile(shared / "data" / "clips" / "want.mkv").frames():
            file.write(cv2.imencode(".jpg", frame.image[:, :, ::-1])[1].tobytes())
    tab = Browser(folder / "profile", *CAMERA, f"--use-file-for-fake-video-capture={folder / 'camera.mjpeg'}")
    yield tab
    tab.close()


def test_the_face_in_the_camera_is_followed_and_read_as_by_edgefer_run(on_camera, url, fer_b0, tmp_path, request):
    show(on_camera, url)
    on_camera.evaluate(RECORD)
    on_camera.evaluate("document.getElementById('camera').click(), 0")
    wait_for(on_camera, f"window.looks.length === {LOOKS}")
    on_camera.evaluate("document.getElementById('camera').click(), 0")
    assert "The face is followed" in text(on_camera, "hint")
    assert complaints(on_camera) == []
    looks = [on_camera.evaluate(f"window.looks[{index}]") for index in range(LOOKS)]
    frames = tmp_path / "frames"
    frames.mkdir()
    for look in looks:
        rgba = np.frombuffer(base64.b64decode(look["image"]), np.uint8).reshape(look["height"], look["width"], 4)
        name = frames / f"{look['frame']:03}_{look['time']:.6f}s.png"
        cv2.imwrite(str(name), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR))
    options = edgefer.RunOptions("onnx", smoothing=Smoothing("causal"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFER_HOME", str(request.config.cache.mkdir("onnxruntime-web")))
        (timeline,) = edgefer.run(fer_b0, [frames], options=options).timelines
    (line,) = timeline.lines
    np.testing.assert_allclose([look["box"] for look in looks], line.boxes, atol=0.2)
    # a hundredth of a pixel can decide which pixels are cut out, so answers are compared where the boxes are the same
    rows = [f"{index},{','.join(map(repr, look['box']))}\n" for index, look in enumerate(looks)]
    (tmp_path / "boxes.csv").write_text("frame,x,y,w,h\n" + "".join(rows))
    (timeline,) = edgefer.run(fer_b0, [frames], options=replace(options, boxes=tmp_path / "boxes.csv")).timelines
    np.testing.assert_allclose([look["values"] for look in looks], timeline.lines[0].smooth, atol=0.005)


def test_the_user_may_choose_what_is_seen_and_go_back_to_the_face(on_camera, url):
    show(on_camera, url)
    on_camera.evaluate("document.getElementById('camera').click(), 0")
    wait_for(on_camera, "document.getElementById('hint').textContent.startsWith('The face is followed')")
    on_camera.evaluate("document.getElementById('view').focus(), 0")
    on_camera.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft")
    wait_for(on_camera, "document.getElementById('hint').textContent.startsWith('The square')")
    assert on_camera.evaluate("document.getElementById('find').getAttribute('aria-pressed')") == "false"
    on_camera.evaluate("document.getElementById('find').click(), 0")
    wait_for(on_camera, "document.getElementById('hint').textContent.startsWith('The face is followed')")


def test_a_camera_without_a_face_says_so(browser, url):
    show(browser, url)
    browser.evaluate("document.getElementById('camera').click(), 0")
    wait_for(browser, "document.getElementById('hint').textContent === 'No face in sight.'")
    assert text(browser, "score") == "\u2013"
    browser.evaluate("document.getElementById('camera').click(), 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_loads_nothing_from_elsewhere(browser, url, width, scheme):
    show(browser, url, width, scheme)
    browser.evaluate("document.querySelector('img[alt=\"drawing: sad\"]').parentElement.click(), 0")
    wait_for(browser, "document.querySelector('.top')")
    assert browser.evaluate(OUTSIDE) == []
    ratio, where = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, where
    assert complaints(browser) == []
    origin = url.removesuffix("browser/")
    asked = {event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")}
    assert [address for address in asked if not address.startswith((origin, "blob:", "data:"))] == []


def test_opened_as_a_file_it_says_what_to_do(browser, app):
    browser.show(app / "browser" / "index.html", 900, "light")
    wait_for(browser, "document.body.innerText.includes('This page has to come from a server.')")


def test_without_onnxruntime_web_it_says_what_to_do(browser, unpacked):
    server, address = serve(unpacked)
    browser.show(SimpleNamespace(as_uri=lambda: address), 900, "light")
    wait_for(browser, "document.body.innerText.includes('onnxruntime-web is missing.')")
    server.shutdown()
    server.server_close()
