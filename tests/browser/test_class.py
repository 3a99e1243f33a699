"""In class, in a real browser: axe, keys without a pointer, a finger, the wall, no network, and lessons to their end.

One server and a tab a kind of visitor serve the whole file. No tab reaches anything but the server: what tries to is
stopped and told at the end.
"""

import csv
import re

import pytest
import torch
import torch.nn.functional as F

from poolviz.inputs.images import digit
from poolviz.lessons import reading
from poolviz.pages import compare_parameters, parameters, sentence_parameters
from poolviz.pages.projector import ZOOM
from poolviz.runs.store import Run
from tests.browser.conftest import Server, Tab

pytestmark = pytest.mark.browser

MAX = F.max_pool2d(digit(3).pixels[None], 2)[0, 0]  # of the view that the app opens with
DESK, WALL, TABLET = ({"width": w, "height": h} for w, h in ((1440, 900), (1920, 1080), (768, 1024)))
LEAST = 18  # pixels of a letter on the wall
PATIENCE = 120_000  # milliseconds that two networks may take on a busy machine
VIEWS = {
    "maps": "",
    "difference": "?lens=difference&input=photo&map=edges",
    "chance": "?lens=chance&input=grid",
    "networks": "?lens=answers",
    "tokens": "sentences",
    "speech": "sentences?lens=speech",
    "pairs": "sentences?lens=pairs",
    "train": "train",
    **{view: f"compare?view={view}" for view in compare_parameters.VIEWS},
    "lessons": "lessons",
    "asked": "?lesson=sampling&step=1",
    "answered": "?lesson=sampling&step=1&answers=1:75",
}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
# What is Streamlit's or Vega's own and out of our reach: rule, the whole element, why.
SPARED = (
    (
        "svg-img-alt",
        r'<g class="mark-\w+ role-mark [^>]*role="graphics-symbol"[^>]*></g>',
        "Vega calls the group of a mark without data a picture; it is empty, and its chart is described",
    ),
)
DRAWN = """() => {
    const all = (selector) => [...document.querySelectorAll(selector)];
    return all('[data-testid="stSkeleton"]').length === 0
        && all('[data-testid="stVegaLiteChart"]').every((chart) => chart.querySelector('svg, canvas'))
        && all('[data-testid^="stBidiComponent"]').every((holder) =>
            !holder.shadowRoot?.querySelector(':is(.stage, .tokens):not([data-painted])'));
}"""
# Every text that a canvas shows on an enlarged page, with its size on the screen.
RECORD = """() => {
    window.written = [];
    const write = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        const zoom = this.canvas.currentCSSZoom;
        if (zoom > 1) window.written.push([parseFloat(/([\\d.]+)px/.exec(this.font)[1]) * zoom, text]);
        return write.call(this, text, ...place);
    };
}"""
SMALL = """(least) => {
    const found = window.written.filter(([size]) => size < least - 0.01);
    const look = (root) => {
        for (const node of root.querySelectorAll('*')) {
            if (node.shadowRoot) look(node.shadowRoot);
            const { width, height } = node.getBoundingClientRect();
            if (!node.checkVisibility() || Math.min(width, height) < 2 || node.matches('style, script')) continue;
            const own = [...node.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE);
            const text = own.map((child) => child.textContent).join('').replaceAll('\\u200b', '').trim();
            for (const [part, shown] of [[null, text], ['::after', node.dataset.share]]) {
                const size = parseFloat(getComputedStyle(node, part).fontSize) * node.currentCSSZoom;
                if (shown && size < least - 0.01) found.push([size, shown]);
            }
        }
    };
    for (const part of ['stHeader', 'stMainBlockContainer']) look(document.querySelector(`[data-testid="${part}"]`));
    return found;
}"""
CUT = """() => {
    const main = document.querySelector('[data-testid="stMain"]'), found = [];
    if (main.scrollWidth > main.clientWidth) found.push(['the page', main.scrollWidth, main.clientWidth]);
    const look = (root) => {
        for (const node of root.querySelectorAll('*')) {
            if (node.shadowRoot) look(node.shadowRoot);
            if (!node.matches('canvas, svg, button, p') || !node.checkVisibility()) continue;
            const right = node.getBoundingClientRect().right;
            if (right > innerWidth + 1) found.push([node.outerHTML.slice(0, 80), right, innerWidth]);
        }
    };
    look(main);
    return found;
}"""
FOCUSED = """() => {
    let node = document.activeElement;
    while (node.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
    return node;
}"""


class Visitor(Tab):
    """A tab whose browser reaches the server and nothing else."""

    def __init__(self, context, url):
        super().__init__(context, url)
        context.route(self._elsewhere, self._stop)
        self.page.on("websocket", lambda socket: self._elsewhere(socket.url) and self.outside.append(socket.url))
        self.page.add_init_script(f"({RECORD})()")

    def _elsewhere(self, url):
        own = self.url.partition("://")[2]
        return not url.startswith((f"http://{own}", f"ws://{own}", "data:", "blob:", "about:"))

    def _stop(self, route):
        self.outside.append(route.request.url)
        route.abort()

    def visit(self, address):
        """Open any page at an address, until everything is drawn."""
        self.page.goto(self.url + address)
        self.page.get_by_test_id("stMainBlockContainer").wait_for(timeout=60_000)
        self.rest()
        return self

    def rest(self):
        """Until no script runs and everything is drawn."""
        self.idle()
        self.page.wait_for_function(DRAWN)
        self.idle()

    def press_p(self, projector):
        """The key, from the page itself, until the mode is there."""
        self.page.keyboard.press("p")
        self.page.wait_for_function(
            "zoom => Math.abs(document.querySelector('[data-testid=\"stMain\"]').currentCSSZoom - zoom) < 0.01",
            arg=ZOOM if projector else 1,
        )
        self.rest()

    def click(self, name, **role):
        """A button of this name, and rest."""
        self.page.get_by_role("button", name=name, exact=True, **role).click()
        self.page.wait_for_timeout(150)
        self.rest()

    def tab_to(self, selector):
        """Press Tab until an element of the page has the focus."""
        for _ in range(120):
            self.page.keyboard.press("Tab")
            node = self.page.evaluate_handle(FOCUSED)
            if node.evaluate("(node, selector) => node.matches(selector)", selector):
                return node
        raise AssertionError(f"Tab does not reach {selector}")


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """The server, with an empty folder of runs."""
    base = tmp_path_factory.mktemp("class")
    runs = base / "runs"
    runs.mkdir()
    started = Server(base / "app.log", POOLVIZ_RUNS=str(runs), POOLVIZ_SCHEDULER="").wait()
    started.runs = runs
    yield started
    started.stop()


def visitor(kind, **options):
    """A fixture: one tab for the whole file."""

    @pytest.fixture(scope="module", name=kind)
    def opened(chromium, school):
        context = chromium.new_context(
            **{"viewport": DESK, "color_scheme": "light", "accept_downloads": True} | options
        )
        tab = Visitor(context, school.url)
        yield tab
        context.close()
        assert (tab.problems, tab.outside) == ([], [])

    return opened


light = visitor("light")
dark = visitor("dark", color_scheme="dark")
finger = visitor("finger", viewport=TABLET, has_touch=True)


def audit(tab, contrast=True):
    """What axe finds on the page: rule, element, why.

    It does not judge the contrast of a dialog, nor of the page behind one; then `contrast` is False.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab.page, options=RULES).response
    assert contrast == ("color-contrast" in {each["id"] for each in found["passes"]})
    return [
        (rule["id"], node["html"], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
        if not any(rule["id"] == spared and re.fullmatch(element, node["html"]) for spared, element, _ in SPARED)
    ]


# ---- axe, at the desk in both themes and on the wall


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_in_the_light(light, view):
    light.visit(VIEWS[view])
    assert audit(light) == []


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_in_the_dark_nor_on_the_wall(dark, view):
    page = dark.page
    page.set_viewport_size(DESK)
    dark.visit(VIEWS[view])
    assert audit(dark) == []
    sidebar = page.get_by_test_id("stSidebar")
    aside = sidebar.is_visible()
    dark.press_p(projector=True)
    assert "projector=yes" in page.url and not sidebar.is_visible()
    assert audit(dark) == []
    assert page.evaluate(SMALL, LEAST) == []
    assert page.evaluate(CUT) == []
    page.set_viewport_size(WALL)
    dark.rest()
    assert page.evaluate(CUT) == []
    assert page.evaluate(SMALL, LEAST) == []
    dark.press_p(projector=False)
    assert "projector" not in page.url and sidebar.is_visible() == aside


@pytest.mark.parametrize("name", ["Share", "This machine"])
def test_axe_finds_nothing_in_a_dialog(light, dark, name):
    for tab in (light, dark):
        tab.visit("")
        tab.page.get_by_test_id("stSidebar").get_by_role("button", name=name).click()
        tab.page.get_by_role("dialog").wait_for()
        tab.rest()
        assert audit(tab, contrast=False) == []
        tab.page.keyboard.press("Escape")


def test_the_first_page_is_found_by_its_name_too(light):
    light.visit("feature-maps?kernel=3")
    light.page.locator(".stage[data-painted]").wait_for()
    assert light.page.get_by_text("kernel 3, stride 2").is_visible()
    light.page.get_by_role("link", name="Sentences").click()
    light.page.locator(".tokens[data-painted]").wait_for()
    light.page.get_by_role("link", name="Feature maps").click()
    light.page.locator(".stage[data-painted]").wait_for()
    assert light.page.get_by_text("kernel 3, stride 2").is_visible()


def test_axe_and_the_measures_see_what_is_wrong(light):
    light.visit("?projector=yes")
    light.page.evaluate(
        """() => {
            const holder = document.querySelector('[data-testid="stMainBlockContainer"]');
            const roots = [...document.querySelectorAll('*')].map((node) => node.shadowRoot);
            const stage = roots.find((root) => root?.querySelector('.stage'));
            stage.querySelector('.stage').insertAdjacentHTML('beforeend', '<button></button>');
            holder.insertAdjacentHTML('afterbegin', '<p style="color: #aaa">faint</p>');
            holder.insertAdjacentHTML('beforeend', '<p style="font-size: 12px; width: 3000px">small and wide</p>');
            stage.querySelector('canvas').getContext('2d').font = '9px serif';
            stage.querySelector('canvas').getContext('2d').fillText('tiny', 5, 5);
        }"""
    )
    assert {rule for rule, *_ in audit(light)} == {"button-name", "color-contrast"}
    assert {text for _, text in light.page.evaluate(SMALL, LEAST)} == {"small and wide", "tiny"}
    assert light.page.evaluate(CUT) != []


# ---- without a pointer


def outlined(node):
    style = node.evaluate(
        "node => { const s = getComputedStyle(node); return [s.outlineStyle, parseFloat(s.outlineWidth)]; }"
    )
    return style[0] == "solid" and style[1] >= 3


def live(tab, holder):
    tab.page.wait_for_timeout(80)  # it is written in the next frame
    return tab.page.locator(f"{holder} .live").text_content()


def test_tab_and_arrows_move_the_stages_cell_and_tell_its_arithmetic(light):
    light.visit("?cell=1,1&lens=difference")
    assert outlined(light.tab_to("canvas.map"))
    light.page.keyboard.press("ArrowDown")
    light.page.keyboard.press("ArrowRight")
    told = live(light, ".stage")
    assert light.cell() == (2, 2) and told.startswith("Row 2, column 2. Max: max(")
    assert f"= {MAX[2, 2]:g}; Average" in told
    difference = float(MAX[2, 2] - F.avg_pool2d(digit(3).pixels[None], 2)[0, 0, 2, 2])
    assert f"Max − Average: at (2, 2): {difference:g}" in told


def test_tab_and_arrows_move_the_token_boards_place(light):
    light.visit("sentences?place=1,5&order=index")
    assert outlined(light.tab_to(".tokens canvas"))
    light.page.keyboard.press("ArrowDown")
    light.page.keyboard.press("ArrowRight")
    told = live(light, ".tokens")
    word = light.page.locator(".tokens .piece").nth(2).inner_text()
    assert light.place() == (2, 6) and told.startswith(f"Token {word}, dimension 6: ")
    assert f"Mean: {light.line('Mean')}; Max: {light.line('Max')}" in told


def test_keys_tell_of_a_speaker_what_hover_tells(light):
    light.visit("sentences?lens=speech&operators=cls,max")
    notes = light.page.locator(".speech small")
    light.page.locator(".speech .sentence").last.locator(".piece").nth(2).hover()
    hovered = notes.all_inner_texts()
    light.page.mouse.move(5, 5)
    assert notes.all_inner_texts() != hovered
    assert outlined(light.tab_to(".speech"))
    for _ in range(3):
        light.page.keyboard.press("ArrowRight")
    assert notes.all_inner_texts() == hovered
    assert live(light, ".speech") == "; ".join(
        f"{who}: {note}" for who, note in zip(("CLS", "Max"), hovered, strict=True)
    )


def test_keys_show_every_share_of_a_networks_answer(light):
    light.visit("?lens=answers")
    bars = light.tab_to(".bars")
    shown = bars.evaluate("node => getComputedStyle(node, '::after').content")
    hovered = light.page.locator(".bars").first.locator("div").evaluate_all("nodes => nodes.map((node) => node.title)")
    assert outlined(bars) and len(hovered) == 10 and all(title in shown for title in hovered)


def test_a_channel_is_chosen_by_keys(light):
    light.visit("?input=photo&map=edges&lens=channels")
    assert outlined(light.tab_to(".sheet button[aria-label='Channel 2']"))
    light.page.keyboard.press("Enter")
    light.page.wait_for_url(re.compile("channel=2"))


@pytest.mark.parametrize("view", ["curves", "errors"])
def test_what_a_tooltip_tells_stands_in_the_csv(light, view):
    """Vega puts a tooltip's figures into its mark's label."""
    light.visit(f"compare?view={view}")
    labels = light.page.locator(".mark-symbol [aria-label]").evaluate_all(
        "nodes => nodes.map((node) => node.getAttribute('aria-label'))"
    )
    told = [re.findall(r"(?:mean|least|most)[^:]*: ([\d.]+)", label) for label in labels if "least" in label]
    light.page.get_by_role("button", name="Save").click()
    with light.page.expect_download() as caught:
        light.page.get_by_role("button", name="Numbers (CSV)").click()
    rows = csv.reader(caught.value.path().read_text().splitlines())
    kept = torch.tensor([float(cell) for row in rows for cell in row if re.fullmatch(r"[\d.]+(e-\d+)?", cell)])
    assert len(told) > 20 and all(len(figures) == 3 for figures in told)
    for text in (text for figures in told for text in figures):
        half = 0.51 * 10 ** -len(text.partition(".")[2])  # of its last digit
        assert ((kept - float(text)).abs() < half).any(), text


# ---- a finger on a tablet


def scrolled(tab):
    return tab.page.get_by_test_id("stMain").evaluate("main => main.scrollTop")


def test_a_tap_on_a_cell_does_what_hover_does(finger):
    finger.visit("?cell=0,0")
    before = scrolled(finger)
    finger.page.touchscreen.tap(*finger.point("Max", 2, 3, (4, 4)))
    finger.page.wait_for_url(re.compile("cell=2%2C3"))
    assert finger.cell() == (2, 3) and finger.words("Max").endswith(f"= {MAX[2, 3]:g}")
    finger.rest()
    assert finger.cell() == (2, 3) and scrolled(finger) == before
    assert finger.page.evaluate(CUT) == []


def test_a_tap_on_the_board_or_a_word_does_what_hover_does(finger):
    finger.visit("sentences?place=1,5&order=index")
    before = scrolled(finger)
    box = finger.page.locator(".tokens canvas").bounding_box()
    finger.page.touchscreen.tap(box["x"] + 0.4 * box["width"], box["y"] + 40 + 4.5 * 28)
    finger.page.wait_for_url(re.compile("place=4%2C"))
    token, dimension = finger.place()
    assert token == 4 and dimension > 20
    finger.rest()
    finger.page.locator(".tokens .piece").nth(6).tap()
    finger.page.wait_for_url(re.compile("place=6%2C"))
    assert finger.place() == (6, dimension) and scrolled(finger) == before


def test_a_tap_on_a_speaker_or_an_answer_tells(finger):
    finger.visit("sentences?lens=speech&operators=max")
    finger.page.locator(".speech .piece").nth(3).tap()
    assert re.match("\u2068?on\u2069? has", finger.page.locator(".speech small").inner_text())
    finger.visit("?lens=answers")
    bars = finger.page.locator(".bars").first
    bars.tap()
    assert "%" in bars.evaluate("node => getComputedStyle(node, '::after').content")


# ---- the wall: the pointer and the key


def test_the_pointer_meets_the_right_cell_of_an_enlarged_stage(light):
    light.visit("?projector=yes&input=photo&photo=flower&operators=max,average,stochastic,lp")
    for row, column in ((0, 0), (27, 27), (3, 24), (25, 2), (13, 14)):
        light.page.mouse.move(*light.point("Max", row, column, (28, 28)))
        light.page.wait_for_timeout(80)
        assert light.cell() == (row, column)
    light.page.mouse.move(*light.point("Input", 55, 40, (56, 56)))
    light.page.wait_for_timeout(80)
    assert light.cell() == (27, 20)


def test_the_pointer_meets_the_right_token_channel_and_point_of_an_enlarged_page(light):
    page = light.page
    light.visit("sentences?projector=yes&order=index")
    canvas = page.locator(".tokens canvas")
    box, wide = canvas.bounding_box(), canvas.evaluate("node => node.offsetWidth")
    scale = box["width"] / wide
    assert scale == pytest.approx(ZOOM, rel=1e-3)
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + scale * (40 + 9.5 * 28))
    page.wait_for_timeout(80)
    assert light.place()[0] == 9
    light.visit("?projector=yes&input=photo&map=gabor&lens=channels")
    page.get_by_role("button", name="Channel 20", exact=True).click()
    page.wait_for_url(re.compile("channel=20"))
    light.visit("?projector=yes&input=drawing&lens=answers")
    pad = page.locator(".pad canvas")
    box = pad.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"])
    inked = pad.evaluate("node => node.getContext('2d').getImageData(0, 0, 28, 28).data[4 * (7 * 28 + 21)]")
    assert inked == 255


def test_p_while_typing_is_a_letter(light):
    light.visit("sentences?source=own&text=A")
    field = light.page.get_by_role("textbox", name="One sentence a line")
    field.click()
    light.page.keyboard.type("p Pp")
    light.page.keyboard.press("Control+Enter")
    light.page.wait_for_url(re.compile(r"text=\w*p"))
    light.rest()
    assert "p Pp" in field.input_value() and light.page.get_by_test_id("stSidebar").is_visible()
    field.blur()
    light.press_p(projector=True)


# ---- lessons, and no network


def test_a_request_to_elsewhere_would_be_seen(chromium, school):
    context = chromium.new_context()
    tab = Visitor(context, school.url).visit("lessons")
    tab.page.evaluate("() => fetch('https://cdn.example/vega.js').catch(() => null)")
    context.close()
    assert set(tab.outside) == {"https://cdn.example/vega.js"}


@pytest.mark.parametrize(
    ("address", "lenses"),
    [
        ("?input=photo&map=edges", parameters.LENSES),
        ("sentences", sentence_parameters.LENSES),
        ("compare", compare_parameters.VIEWS),
    ],
    ids=["maps", "sentences", "compare"],
)
def test_every_lens_works_without_a_network(light, address, lenses):
    light.visit(address)
    for lens in lenses.values():
        light.page.get_by_role("radiogroup", name="Look at").get_by_text(lens, exact=True).click()
        light.page.wait_for_timeout(100)
        light.rest()
        assert light.page.get_by_test_id("stException").count() == 0
    assert light.outside == []


def begin(tab, title):
    """Begin a lesson on the page Lessons."""
    tab.visit("lessons")
    heading = tab.page.get_by_role("heading", name=title, exact=True)
    card = tab.page.get_by_test_id("stVerticalBlock").filter(has=heading).last
    card.get_by_role("button").click()
    arrive(tab, 1)


def arrive(tab, step):
    """Until a step of the lesson is there."""
    tab.page.locator(".st-key-lesson").get_by_text(f"· {step} of").wait_for(timeout=30_000)
    tab.rest()


def predict(tab, number):
    """Write a number, press the button; what is told."""
    tab.page.get_by_role("spinbutton", name="Your prediction").fill(str(number))
    return prediction(tab)


def prediction(tab):
    tab.click("That is my prediction")
    return answer(tab)


def answer(tab):
    """What the lesson says to a prediction."""
    return tab.page.locator(".st-key-lesson [data-testid=stAlert] [data-testid=stMarkdownContainer]").inner_text()


@pytest.mark.parametrize("lesson", reading.shelf()[0].values(), ids=lambda lesson: lesson.name)
def test_every_lesson_goes_to_its_end_without_a_network(light, lesson):
    begin(light, lesson.title)
    for step in range(2, len(lesson.steps) + 1):
        light.page.get_by_role("button", name="Next", exact=True).click()
        arrive(light, step)
        heading = light.page.locator(".st-key-lesson").get_by_role("heading", name=lesson.steps[step - 1].title)
        assert heading.is_visible()
        assert light.page.get_by_role("alert").count() == 0
    light.click("End")
    assert light.page.locator(".st-key-lesson").count() == 0 and "lesson" not in light.page.url
    assert light.outside == []


def test_a_lesson_by_clicks_alone(light):
    page, panel = light.page, light.page.locator(".st-key-lesson")
    begin(light, "Why sample?")
    light.click("That is my prediction")
    assert panel.get_by_text("Predict first: type a number.").is_visible()
    assert predict(light, 50).startswith("Not quite. You said: 50 %.")
    light.click("Predict anew")
    assert predict(light, 75).startswith("Right: 75 %.")
    light.click("Next")
    panel.get_by_text("Always 5").click()
    assert prediction(light).startswith("Right: Always 5.")
    page.reload()  # the address holds how far one is
    arrive(light, 2)
    assert answer(light).startswith("Right: Always 5.")
    light.click("Back")
    assert answer(light).startswith("Right: 75 %.")
    light.click("Next")
    light.click("Next")
    page.get_by_label("Kernel size", exact=True).fill("3")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("kernel=3"))
    light.click("Reset")
    assert "kernel" not in page.url and light.page.locator(".card.output").count() == 2
    assert predict(light, 2.5).startswith("Right: 2.5.")
    assert light.page.locator(".card.output").count() == 3  # the answer's own view
    page.get_by_label("Kernel size", exact=True).fill("3")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("kernel=3"))
    light.rest()
    assert answer(light).startswith("Right: 2.5.")  # by the view that was asked about
    light.click("Predict anew")
    page.get_by_label("Kernel size", exact=True).fill("3")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("kernel=3"))
    assert predict(light, 2.5).startswith("Right: 2.5.") and "kernel" not in page.url
    light.click("Next")
    light.click("Next")
    assert predict(light, 2).startswith("Not quite. You said: 2.")
    light.click("Leave")
    assert panel.count() == 0 and "lesson" not in page.url
    assert light.page.locator(".stage").count() == 1  # the page stays


def validation_error(run):
    """Of the last epoch, a share."""
    return [row["validation_error"] for row in run.metrics() if "validation_error" in row][-1]


def test_the_last_lessons_race_is_run_and_told(light, school):
    begin(light, "Does pooling prevent overfitting?")
    panel = light.page.locator(".st-key-lesson")
    panel.get_by_text("The one with max pooling").click()
    assert "Press Start below" in prediction(light)
    light.click("Start")
    verdict = panel.get_by_text(re.compile(r"^(Right: |Not quite\.)"))
    verdict.wait_for(timeout=PATIENCE)
    told = answer(light)
    runs = [Run(file.parent) for file in school.runs.glob("*/config.json")]
    errors = {run.config.pooling: validation_error(run) for run in runs}
    assert {run.state for run in runs} == {"completed"}
    assert f"max pooling {100 * errors['max']:.1f} %, none {100 * errors['none']:.1f} %" in told
    assert told.startswith("Right") == (errors["max"] < errors["none"])
