"""Handouts in a real Chromium, from a file, with every request to anywhere else refused: they still answer."""

import re

import pytest
import torch
import torch.nn.functional as F

from poolviz.charts import tokens
from poolviz.charts.answers import Answer, answers_payload
from poolviz.charts.bands import Runs, bands_figure
from poolviz.charts.compare import Setting, compare
from poolviz.charts.entries import Entry
from poolviz.charts.handout import Section, Table, html_report
from poolviz.charts.leaderboard import leaderboard_figure
from poolviz.charts.sheet import sheet_payload
from poolviz.charts.stage import payload
from poolviz.charts.tokens import TokenSetting, TokenStage
from poolviz.inputs.encoder import Piece
from poolviz.pages.handout import Handout, component

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
def opened(request, chromium, tmp_path):
    """Opens a file in one of both colour schemes; nothing may be asked for, no error, no dialog."""
    context = chromium.new_context(color_scheme=request.param, viewport={"width": 900, "height": 900})
    problems = []

    def open_file(text):
        file = tmp_path / "handout.html"
        file.write_text(text, encoding="utf-8")
        page = context.new_page()

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
        return page

    yield open_file
    context.close()
    assert problems == []


@pytest.fixture
def page(opened):
    page = opened(report())
    page.wait_for_function("() => document.querySelectorAll('.chart[data-drawn]').length === 2", timeout=60_000)
    return page


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


# ---- components

MAP = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
WORDS = ("[CLS]", NASTY, "bank", "[SEP]")
HIDDEN = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))

# What stands on paper when it is about to be printed: the red of the tokens' names at the left of their board.
ON_PAPER = """() => addEventListener("beforeprint", () => {
  const [stage, board] = [...document.querySelectorAll(".component")].map((each) => each.shadowRoot);
  const canvas = board.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 40, 45, 110);
  const reds = [];
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) reds.push(data[i]);
  window.paper = { width: canvas.clientWidth, reds, cell: stage.querySelector(".stage").dataset.cell };
})"""


def handed_out(*components):
    return Handout(NASTY, NASTY, "0", "http://example.org/", lambda: components, ["max", "average"]).html().decode()


def stage_part(cell=(1, 1)):
    return component("stage", NASTY, payload(compare(MAP, Setting(("max", "average")), NASTY), cell))


def pieces():
    return [
        Piece(word, number, "special" if "[" in word else "word", word, -1, " ") for number, word in enumerate(WORDS)
    ]


def tokens_part():
    mask = torch.ones(4, dtype=torch.bool)
    readings = tokens.read(HIDDEN, mask, TokenSetting(("mean", "max")))
    stage = TokenStage(NASTY, pieces(), HIDDEN, mask, readings, torch.arange(16))
    return component("tokens", NASTY, tokens.token_payload(stage, (1, 3)))


def result_of(page, title):
    """What an operator's line of arithmetic ends with."""
    card = page.locator(".card", has=page.get_by_role("heading", name=title, exact=True))
    return float(re.search(r"[\d.]+$", card.locator(".words").inner_text())[0])


def at(page, cell):
    page.wait_for_function(
        "cell => document.querySelector('.component').shadowRoot.querySelector('.stage').dataset.cell === cell",
        arg=cell,
    )


def test_a_cell_under_the_pointer_tells_torchs_numbers(opened):
    page = opened(handed_out(stage_part()))
    canvas = page.locator(".card.output canvas.map").first
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 0.875, "y": box["height"] * 0.625})
    at(page, "2,3")
    for title, pool in {"Max": F.max_pool2d, "Average": F.avg_pool2d}.items():
        assert result_of(page, title) == pytest.approx(float(pool(MAP[None], 2)[0, 2, 3]), abs=6e-4)
    page.mouse.move(0, 0)
    at(page, "1,1")


def test_arrow_keys_move_and_the_colours_may_change_meanwhile(opened):
    page = opened(handed_out(stage_part()))
    page.locator(".card.output canvas.map").last.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    at(page, "3,2")
    assert result_of(page, "Average") == pytest.approx(float(F.avg_pool2d(MAP[None], 2)[0, 3, 2]), abs=6e-4)
    page.wait_for_timeout(3600)  # kept when keys have come to rest, and for 3 s no older answer counts
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    page.emulate_media(color_scheme="light" if dark else "dark")
    page.wait_for_timeout(100)
    at(page, "3,2")


def test_paper_is_light_and_as_wide_as_it_is(opened):
    page = opened(handed_out(stage_part(), tokens_part()))
    page.locator(".card.output canvas.map").last.click(position={"x": 10, "y": 10})
    at(page, "0,0")
    page.evaluate(ON_PAPER)
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    paper = page.evaluate("paper")
    assert paper["width"] <= 703  # CSS pixels of A4 within its margins of 12 mm
    assert len(paper["reds"]) > 20 and max(paper["reds"]) < 100 and paper["cell"] == "0,0"
    page.wait_for_function("document.querySelector('.component').clientWidth > 703")


def test_the_token_board_follows_keys_and_a_hostile_word_is_a_word(opened):
    page = opened(handed_out(tokens_part()))
    page.locator(".tokens canvas").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".tokens[data-place='1,4']").wait_for()
    mean = float(HIDDEN[:, 4].mean())
    said = page.locator(".tokens .what").first.inner_text().split("=")[1].strip().replace("−", "-")
    assert float(said) == pytest.approx(mean, abs=6e-4)
    assert page.locator(".tokens .piece").nth(1).inner_text() == NASTY
    assert page.title() == f"poolviz: {NASTY}" and page.locator("img").count() == 0


def test_every_component_is_drawn_beside_the_others(opened):
    readings = tokens.read(HIDDEN, torch.ones(4, dtype=torch.bool), TokenSetting(("mean", "max")))
    answer = Answer(NASTY, "max", torch.tensor([0.1, 0.9]), torch.rand(2, 8, 8), torch.rand(2, 4, 4))
    page = opened(
        handed_out(
            stage_part(),
            tokens_part(),
            component("speech", "", tokens.speech_payload(pieces(), readings, "weight")),
            component("answers", "", answers_payload([answer], ["a", "b"], "viridis")),
            component("sheet", "", sheet_payload(torch.rand(3, 8, 8), 1, "viridis")),
        )
    )
    page.locator(".tokens[data-painted]").wait_for()
    assert page.locator(".speech section").count() == 2 and page.locator(".sheet canvas").count() == 3
    assert page.locator(".verdict").inner_text() == f"{NASTY} says b"
    page.locator(".speech .piece").nth(1).hover()
    assert NASTY in page.locator(".speech small").first.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
