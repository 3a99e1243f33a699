"""Drawing a digit in a real browser: answers, maps, Clear, a finger, the copied link, and how fast it answers."""

import re
import statistics

import pytest

from poolviz.inputs import images
from poolviz.runs import networks
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

LENS = "?input=drawing&lens=answers"
ONE = [(0.5, 0.15), (0.5, 0.85)]
POOLINGS = ["Max", "Average", "Stochastic", "Softmax-stochastic", "No pooling"]

# milliseconds from the end of a stroke to the frame after the answers are in the page
CLOCK = """() => {
  const roots = [...document.querySelectorAll('*')].map(node => node.shadowRoot).filter(Boolean);
  const cards = roots.map(root => root.querySelector('.answers .cards')).find(Boolean);
  let from = null;
  window.__times = [];
  document.addEventListener('pointerup', () => { from = performance.now(); }, true);
  new MutationObserver(() => {
    if (from === null) return;
    const began = from;
    from = null;
    requestAnimationFrame(() => setTimeout(() => window.__times.push(performance.now() - began)));
  }).observe(cards, { childList: true });
}"""


def opened(tab, query=LENS):
    tab.page.goto(tab.url + query)
    tab.page.locator(".pad canvas").wait_for(timeout=60_000)
    tab.idle()
    return tab


def stroke(tab, places):
    """A stroke through places, as shares of the pad's width and height."""
    box = tab.page.locator(".pad canvas").bounding_box()
    first, *rest = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    tab.page.mouse.move(*first)
    tab.page.mouse.down()
    for place in rest:
        tab.page.mouse.move(*place, steps=8)
    tab.page.mouse.up()


def answers(tab):
    """Each network's answer by its name, as they are read on the cards."""
    tab.page.locator(".card").first.wait_for()
    names = tab.page.locator(".card h4").all_inner_texts()
    return dict(zip(names, tab.page.locator(".card .top b").all_inner_texts(), strict=True))


def test_a_one_is_read_by_every_network_and_the_maps_halve(tab):
    opened(tab)
    assert tab.page.locator(".pad .hint").inner_text() == "Draw a digit"
    tab.page.get_by_text("each network answers when you lift the pen").wait_for()
    assert tab.page.locator(".card").count() == 0
    stroke(tab, ONE)
    assert answers(tab) == dict.fromkeys(POOLINGS, "1")
    assert tab.page.locator(".verdict").inner_text() == "All 5 networks say 1"
    assert tab.page.locator(".pad .hint").is_hidden() and tab.page.get_by_text("lift the pen").count() == 0
    for place, name in enumerate(POOLINGS):
        card = tab.page.locator(".card").nth(place)
        bars = card.locator(".bars > div")
        assert bars.locator("em").all_inner_texts() == list("0123456789")
        heights = bars.locator("i > i").evaluate_all("all => all.map(bar => bar.getBoundingClientRect().height)")
        assert heights.index(max(heights)) == 1
        sizes = card.locator(".maps canvas").evaluate_all("all => all.map(each => each.width)")
        assert sizes == ([24] * 6 if name == "No pooling" else [24, 12] * 6)
    assert "No pooling layer" in tab.page.locator(".card").last.inner_text()


def test_the_picture_of_a_map_has_the_networks_colours(tab):
    """The brightest pixel of a strip is the cell that a network, asked by itself, gives the greatest value."""
    opened(tab)
    stroke(tab, ONE)
    tab.page.wait_for_url(re.compile("drawing="))
    tab.idle()
    drawing = re.search(r"drawing=([\w-]+)", tab.page.url)[1]
    plane = images.drawing(images.drawing_from_text(drawing)).pixels[0]
    run = next(run for run in networks.at_hand() if run.name == "mnist-max-s0")
    _, before, after = networks.read(run, networks.as_digit(plane / plane.max(), 28))
    card = tab.page.locator(".card").first
    channels = [int(text) for text in card.locator(".number").all_text_contents()[1:]]
    greens = card.locator(".maps canvas").evaluate_all(
        "all => all.map(each => [...each.getContext('2d').getImageData(0, 0, each.width, each.height).data]"
        ".filter((_, i) => i % 4 === 1))"
    )
    for maps, shown in ((before, greens[::2]), (after, greens[1::2])):
        for channel, green in zip(channels, shown, strict=True):
            if maps[channel].max() > maps[channels].max() / 4:  # viridis gets greener all the way
                assert green[int(maps[channel].argmax())] == max(green)


def test_clear_asks_for_a_digit_again(tab):
    opened(tab)
    stroke(tab, ONE)
    assert len(answers(tab)) == 5
    tab.page.get_by_role("button", name="Clear", exact=True).click()
    tab.page.locator(".card").first.wait_for(state="detached")
    assert tab.page.locator(".pad .hint").is_visible()
    tab.page.wait_for_url(lambda address: "drawing=" not in address)
    stroke(tab, ONE)
    assert answers(tab)["Max"] == "1"


def test_a_copied_link_shows_the_same_and_digits_networks_answer_too(tab, chromium):
    opened(tab)
    stroke(tab, ONE)
    assert len(answers(tab)) == 5
    tab.page.get_by_text("Digits (8 × 8)").click()
    tab.page.wait_for_url(re.compile("networks=digits"))
    tab.idle()
    mine, address = answers(tab), tab.page.url
    assert len(mine) == 7
    tab.page.goto("about:blank")
    tab.page.goto(address)
    tab.page.locator(".card").nth(6).wait_for()
    assert answers(tab) == mine


def test_a_handout_holds_the_drawing_and_its_answers(tab, chromium, tmp_path):
    opened(tab)

    def handout():
        tab.page.get_by_role("button", name="Save").click()
        with tab.page.expect_download() as kept:
            tab.page.get_by_role("button", name="Handout (HTML)").click()
        tab.page.keyboard.press("Escape")
        alone = chromium.new_page()
        alone.route("**", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
        kept.value.save_as(tmp_path / "handout.html")
        alone.goto(f"file://{tmp_path}/handout.html")
        return alone

    empty = handout()
    assert "Nothing is drawn yet." in empty.locator("body").inner_text()
    empty.close()
    stroke(tab, ONE)
    shown = answers(tab)
    tab.page.wait_for_url(re.compile("drawing="))
    tab.idle()
    full = handout()
    full.locator(".card").nth(4).wait_for()
    assert (
        dict(
            zip(full.locator(".card h4").all_inner_texts(), full.locator(".card .top b").all_inner_texts(), strict=True)
        )
        == shown
    )
    drawing = full.locator("img").first
    assert drawing.evaluate("image => image.complete && image.naturalWidth") == 28 * round(2 * 200 / 28)
    assert re.search(r"drawing=([\w-]+)", tab.page.url)[0] in full.content().replace("&amp;", "&")
    full.close()


def test_a_finger_draws_and_a_second_one_does_not(chromium, server):
    context = chromium.new_context(viewport={"width": 768, "height": 1024}, has_touch=True)
    page = context.new_page()
    page.goto(server.url + LENS)
    canvas = page.locator(".pad canvas")
    canvas.wait_for(timeout=60_000)
    assert canvas.bounding_box()["width"] >= 270
    left, top, size = (canvas.bounding_box()[part] for part in ("x", "y", "width"))
    finger = context.new_cdp_session(page)

    def touch(kind, *places):
        points = [{"x": left + x * size, "y": top + y * size, "id": i} for i, (x, y) in enumerate(places)]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (0.5, 0.2))
    touch("touchMove", (0.5, 0.5))
    touch("touchStart", (0.5, 0.5), (0.9, 0.9))  # a palm
    touch("touchMove", (0.5, 0.8), (0.1, 0.9))
    touch("touchEnd")
    page.locator(".card").first.wait_for()
    assert set(page.locator(".card .top b").all_inner_texts()) == {"1"}
    inked = canvas.evaluate(
        "pad => [...pad.getContext('2d').getImageData(0, 0, 28, 28).data]"
        ".flatMap((level, i) => i % 4 === 0 && level ? [i / 4 % 28] : [])"
    )
    assert max(inked) - min(inked) <= 4  # one upright stroke
    context.close()


@pytest.mark.benchmark
def test_stroke_end_to_answers(tab, figure):
    opened(tab)
    stroke(tab, ONE)
    answers(tab)
    tab.idle()
    tab.page.evaluate(CLOCK)
    for number in range(10):
        stroke(tab, [(0.3 + 0.04 * number, 0.3), (0.35 + 0.04 * number, 0.35)])
        tab.page.wait_for_function(f"() => window.__times.length > {number}", timeout=20_000)
        tab.page.wait_for_timeout(200)
    times = sorted(tab.page.evaluate("() => window.__times"))
    figure(f"stroke end to five answers: median {statistics.median(times):.0f} ms, p95 {times[-1]:.0f} ms (200)")
    assert statistics.median(times) <= 400


def test_a_drawing_is_on_the_stage_of_the_next_lens(tab):
    opened(tab)
    stroke(tab, ONE)
    answers(tab)
    tab.page.get_by_role("radio", name="Outputs").click()
    tab.page.locator(".stage[data-painted]").wait_for()
    tab.idle()
    assert tab.page.locator(".pad canvas").count() == 1  # in the sidebar
    drawn = "canvas => canvas.toDataURL()"
    fresh = Tab(tab.page.context, tab.url)
    fresh.open("?" + tab.page.url.partition("?")[2])
    pictures = [each.canvas("Input").evaluate(drawn) for each in (tab, fresh)]
    assert pictures[0] == pictures[1]
    tab.page.get_by_role("radio", name="Networks").click()
    tab.page.locator(".card .top b").first.wait_for()
    assert answers(tab) == dict.fromkeys(POOLINGS, "1")
    tab.idle()
    assert tab.page.locator(".pad canvas").count() == 1
