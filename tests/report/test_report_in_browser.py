"""The page as a browser lays it out, at the width of a desk and of a phone, light and dark."""

import pytest

from edgefer.report import conversion_report
from tests.report.browser import PROGRAM, Browser
from tests.report.document import MANIFEST, point, solution
from tests.report.test_report_evaluation import AFFECT, EXPRESSION, UNITS, evaluation, report

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

HEADS = (EXPRESSION, AFFECT, UNITS)

FRONTIER = solution(
    *(
        point(
            float=[f"/blocks/blocks.{block}/conv_pwl/Conv" for block in range(index)],
            bytes=5_128_114 + 1200 * index,
            sqnr_db=14.0 + index,
            drop=1.5 - 0.1 * index,
            latency=1 + 0.02 * index,
            chosen=index == 9,
        )
        for index in range(12)
    )
)

OUTSIDE = """(() => {
  const width = document.documentElement.clientWidth;
  return [...document.querySelectorAll("body *")]
    .filter((e) => !e.closest(".scroll"))
    .filter((e) => { const r = e.getBoundingClientRect(); return r.width && (r.right > width + 1 || r.left < -1); })
    .map((e) => e.outerHTML.slice(0, 80))
    .concat(document.documentElement.scrollWidth > width ? ["the page scrolls sideways"] : []);
})()"""

COLLISIONS = """[...document.querySelectorAll("svg.chart")].flatMap((chart) => {
  const values = [...chart.querySelectorAll("text.value")];
  return [...chart.querySelectorAll("text.label")].filter((label, i) =>
    label.getBoundingClientRect().right > values[i].getBoundingClientRect().left).map((label) => label.textContent);
})"""

CONTRAST = """(() => {
  const channels = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return color.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (e) => {
    const color = getComputedStyle(e).backgroundColor;
    return channels(color)[3] || !e.parentElement ? color : background(e.parentElement);
  };
  return [...document.querySelectorAll("body *")]
    .filter((e) => !["title", "desc"].includes(e.tagName))
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((e) => {
      const style = getComputedStyle(e);
      const [a, b] = [luminance(e instanceof SVGElement ? style.fill : style.color), luminance(background(e))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 80)];
    })
    .sort((a, b) => a[0] - b[0])[0];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    tab = Browser(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


@pytest.fixture(scope="module", params=["labelled", "unlabelled", "solved"])
def page(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    if request.param == "solved":
        document = conversion_report({**MANIFEST, "solution": FRONTIER})
    else:
        document = report(evaluation(HEADS, labelled=request.param == "labelled"), HEADS)
    path.write_text(document, encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_is_readable_and_quiet(browser, page, width, scheme):
    browser.show(page, width, scheme)
    assert browser.evaluate("document.documentElement.clientWidth") == width
    assert browser.evaluate(OUTSIDE) == []
    assert browser.evaluate(COLLISIONS) == []
    ratio, text = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    assert browser.seen("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert {event["request"]["url"] for event in browser.seen("Network.requestWillBeSent")} == {page.as_uri()}


def test_faint_text_and_overflow_are_noticed(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text(
        '<meta name="viewport" content="width=device-width"><body style="background:#fff">'
        '<p style="color:#bbb;width:900px">text</p>'
    )
    browser.show(path, 390, "light")
    assert browser.evaluate(CONTRAST)[0] < 4.5
    assert browser.evaluate(OUTSIDE)
