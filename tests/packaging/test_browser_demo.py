"""The demo page as a browser runs it: the same outputs as on the host, readable, and with nothing from elsewhere."""

import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

import edgefer
from edgefer.errors import EdgeferError
from tests.packaging.golden_table import expected_values
from tests.report.browser import PROGRAM, Browser
from tests.report.test_report_in_browser import CONTRAST, OUTSIDE

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
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
            pytest.skip(f"needs onnxruntime-web: {error.message}")
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
    assert text(browser, "golden") == "6 of 6 golden tests passed"
    answer = browser.call("Runtime.evaluate", expression=GOLDEN, awaitPromise=True, returnByValue=True)
    results = {result["name"]: result for result in answer["result"]["value"]}
    rows = [line.split("\t") for line in (app / "golden" / "expected.tsv").read_text().splitlines()]
    expected = {row[0]: row[2:] for row in rows if row[1] == "onnx"}
    assert results.keys() == expected.keys()
    for name, (tolerance, *values) in expected.items():
        np.testing.assert_allclose(results[name]["values"], np.array(values, float), atol=float(tolerance))
        assert results[name]["levels"] <= 1
        assert results[name]["passed"]


def test_a_wrong_expectation_is_shown(browser, app, tmp_path):
    shutil.copytree(app, tmp_path / "app")
    table = tmp_path / "app" / "golden" / "expected.tsv"
    table.write_text(table.read_text().replace("happy\tonnx\t0.02\t0.", "happy\tonnx\t0.02\t0.9"))
    server, address = serve(tmp_path / "app")
    show(browser, address)
    server.shutdown()
    server.server_close()
    assert text(browser, "golden") == "5 of 6 golden tests passed"
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
