"""The HTML report in a real Chromium, from a file, with every request to anywhere else refused: charts still answer."""

import pytest

from poolviz.charts.bands import Runs, bands_figure
from poolviz.charts.entries import Entry
from poolviz.charts.handout import Section, Table, html_report
from poolviz.charts.leaderboard import leaderboard_figure

pytestmark = pytest.mark.browser

NASTY = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
LINES = "e => [...e.querySelectorAll('.mark-line.role-mark path')].map(path => Number(path.getAttribute('opacity')))"


def run(shift):
    epochs = [{"kind": "epoch", "step": n, "epoch": n, "validation_loss": shift + 1 / n} for n in (1, 2, 3)]
    return [{"kind": "start", "epoch_steps": 1, "epochs": 3}, *epochs]


def report():
    groups = [Entry(NASTY, "#D55E00", {1: 0.9, 2: 1.1}, 1.0, 0.5, 1.5), Entry("Max", "#0072B2", {1: 2.0}, 2.0)]
    curves = [
        Runs(name, colour, [run(at), run(at + 0.1)])
        for at, (name, colour) in enumerate({"A": "#D55E00", "B": "#0072B2"}.items())
    ]
    figures = [leaderboard_figure(groups, [], "Test error", "%", "low"), bands_figure(curves, "loss", "epoch")]
    return html_report(NASTY, [Section(NASTY, [NASTY, Table(NASTY, [{NASTY: NASTY}]), *figures])])


@pytest.fixture(params=["light", "dark"])
def page(request, chromium, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(report(), encoding="utf-8")
    context = chromium.new_context(color_scheme=request.param, viewport={"width": 900, "height": 900})
    page = context.new_page()
    problems = []

    def guard(route):
        if route.request.url == file.as_uri():
            return route.continue_()
        problems.append(route.request.url)
        return route.abort()

    page.route("**/*", guard)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
    page.goto(file.as_uri())
    page.wait_for_function("() => document.querySelectorAll('.chart[data-drawn]').length === 2", timeout=60_000)
    yield page
    context.close()
    assert problems == []


def test_a_dot_tells_its_figure_to_the_pointer(page):
    chart = page.locator(".chart").first
    chart.locator(".mark-symbol.role-mark path[aria-label*='seed: 2']").hover(force=True)
    told = page.locator("#vg-tooltip-element.visible")
    told.wait_for()
    assert "1.10 %" in told.inner_text() and NASTY in told.inner_text()


def test_hostile_texts_are_shown_and_not_obeyed(page):
    assert page.title() == NASTY == page.locator("h1").inner_text() == page.locator("td").inner_text()
    assert page.locator("img").count() == 0


def test_a_name_and_a_line_isolate_their_group(page):
    chart = page.locator(".chart").nth(1)
    chart.scroll_into_view_if_needed()
    assert chart.evaluate(LINES) == [1, 1]
    chart.locator(".role-legend-label text").first.click()
    page.wait_for_function(f"e => ({LINES})(e)[1] < 0.1", arg=chart.element_handle())
    assert chart.evaluate(LINES) == [1, 0.05]
    chart.locator("svg").dblclick(position={"x": 70, "y": 60})
    page.wait_for_function(f"e => ({LINES})(e)[1] === 1", arg=chart.element_handle())
    x, y = chart.locator(".mark-line.role-mark path").last.evaluate(
        "e => { const p = e.getPointAtLength(e.getTotalLength() * 0.4).matrixTransform(e.getScreenCTM());"
        " return [p.x, p.y]; }"
    )
    page.mouse.click(x, y)
    page.wait_for_function(f"e => ({LINES})(e)[0] < 0.1", arg=chart.element_handle())


def test_nothing_is_cut_off_and_text_is_read_on_its_ground(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ink, ground = page.evaluate(
        "() => [getComputedStyle(document.querySelector('.role-axis-title text')).fill,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    luminance = [sum(map(int, colour[4:-1].split(","))) / 765 for colour in (ink, ground)]
    assert abs(luminance[0] - luminance[1]) > 0.6
