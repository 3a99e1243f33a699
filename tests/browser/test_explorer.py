"""The explorer in a real browser, used as a student would: hover, keys, slider, upload, drawing, links, downloads."""

import io
import json
import re

import numpy as np
import pytest
import torch.nn.functional as F
from PIL import Image

from poolviz.inputs.images import digit

pytestmark = pytest.mark.browser

X = digit(3).pixels[None]  # the default view: 8 x 8, kernel 2, stride 2
MAX, AVERAGE = F.max_pool2d(X, 2)[0, 0], F.avg_pool2d(X, 2)[0, 0]


def png(width=20, height=12, mode="RGB", colour=(200, 30, 30)):
    stored = io.BytesIO()
    Image.new(mode, (width, height), colour).save(stored, format="PNG")
    return stored.getvalue()


def give(tab, name, data):
    field = tab.page.locator("input[type=file]")
    field.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    tab.page.locator(f".stage[aria-label*='{name}'], [role=alert]").first.wait_for()
    tab.idle()


def remove(tab):
    chip = tab.page.get_by_test_id("stFileChipDeleteBtn")
    chip.get_by_role("button").click()
    chip.wait_for(state="detached")
    tab.idle()


def test_hover_shows_torchs_numbers_without_a_word_to_the_server(tab):
    tab.open()
    tab.page.mouse.move(5, 5)
    sent = len(tab.sent)
    for row in range(4):
        for column in range(4):
            tab.page.mouse.move(*tab.point("Max", row, column, (4, 4)))
            tab.page.wait_for_function(
                "([root, cell]) => root.dataset.cell === cell",
                arg=[tab.page.locator(".stage").element_handle(), f"{row},{column}"],
            )
            tab.page.wait_for_timeout(40)  # words are written in the frame after
            assert tab.words("Max").endswith(f"= {MAX[row, column]:g}")
            assert tab.words("Average").endswith(f"/ 4 = {AVERAGE[row, column]:g}")
    assert len(tab.sent) == sent


def test_hover_over_the_input_finds_the_window(tab):
    tab.open()
    for row, column in ((0, 0), (5, 2), (7, 7)):
        tab.page.mouse.move(*tab.point("Input", row, column, (8, 8)))
        tab.page.wait_for_timeout(80)
        assert tab.cell() == (row // 2, column // 2)


def test_step_play_and_scrub_stay_in_the_browser(tab):
    tab.open("?cell=0,0")
    sent = len(tab.sent)
    tab.page.get_by_role("button", name="▶ Play").click()
    tab.page.wait_for_function("root => root.dataset.cell !== '0,0'", arg=tab.page.locator(".stage").element_handle())
    assert len(tab.sent) == sent
    tab.page.get_by_role("button", name="⏸ Pause").click()  # keeps the cell, which the address then holds
    tab.page.wait_for_url(re.compile("cell="))
    scrub = tab.page.get_by_label("Output cell, in reading order")
    scrub.fill("6")
    tab.page.wait_for_timeout(80)
    assert tab.cell() == (1, 2)


def test_keyboard_reaches_every_cell(tab):
    tab.open("?cell=1,1")
    tab.canvas("Max").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp"):
        tab.page.keyboard.press(key)
    tab.page.wait_for_timeout(80)
    assert tab.cell() == (1, 3)  # the edge holds
    assert "Row 1, column 3. Max: max(" in tab.page.locator(".live").inner_text()
    tab.page.get_by_label("row", exact=True).fill("3")
    tab.page.keyboard.press("Tab")
    tab.page.wait_for_timeout(80)
    assert tab.cell() == (3, 3)
    tab.page.wait_for_url(re.compile(r"cell=3%2C3"))


def test_a_click_is_kept_in_the_link_and_the_link_restores_it(tab):
    tab.open("?operators=max,lp&kernel=3&stride=1&mode=train&seed=7&lens=difference")
    tab.page.mouse.click(*tab.point("Max", 4, 1, (6, 6)))
    tab.page.wait_for_url(re.compile(r"cell=4%2C1"))
    tab.idle()
    words = tab.words("Lp")
    tab.page.mouse.move(5, 5)
    address = tab.page.url
    tab.page.goto("about:blank")
    tab.url = ""
    tab.open(address)
    assert tab.cell() == (4, 1)
    assert tab.words("Lp") == words
    for part in ("operators=max%2Clp", "kernel=3", "stride=1", "lens=difference"):
        assert part in tab.page.url


def test_changing_a_number_repaints_and_keeps_the_cell(tab):
    tab.open("?cell=2,1")
    tab.page.get_by_label("Kernel size", exact=True).fill("3")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(re.compile("kernel=3"))
    tab.idle()
    assert tab.cell() == (2, 1)
    assert tab.words("Max").endswith(f"= {F.max_pool2d(X, 3, 2)[0, 0, 2, 1]:g}")


def test_an_impossible_setting_is_a_sentence(tab):
    tab.open("?input=grid")
    tab.page.get_by_label("Kernel size", exact=True).fill("6")
    tab.page.keyboard.press("Enter")
    tab.page.get_by_text("This setting is impossible").wait_for()
    assert "kernel size 6" in tab.page.get_by_role("alert").first.inner_text()


def test_draw_again_changes_the_draw_and_the_seed_brings_it_back(tab):
    tab.open("?input=photo&operators=stochastic&mode=train&cell=9,9")
    first = [tab.page.locator(".stage").get_attribute("data-painted"), tab.canvas("Stochastic").screenshot()]
    tab.page.get_by_role("button", name="Draw again").click()
    tab.page.wait_for_url(re.compile("seed=1"))
    tab.idle()
    assert tab.canvas("Stochastic").screenshot() != first[1]
    tab.page.get_by_label("Seed", exact=True).fill("0")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(lambda url: "seed=" not in url)
    tab.idle()
    assert tab.canvas("Stochastic").screenshot() == first[1]


@pytest.mark.parametrize(
    "name, data, sentence",
    [
        ("notes.png", b"these are not pixels", "not"),
        ("half.png", png(200, 200)[:150], "half.png"),
        ("bomb.png", png(20_000, 10, "1", 0), "20,000"),
        ("dot.png", png(1, 1), "1 x 1"),
    ],
    ids=["no-image", "truncated", "bomb", "one-pixel"],
)
def test_a_bad_upload_is_a_sentence_and_the_picture_stays(tab, name, data, sentence):
    tab.open("?input=upload")
    give(tab, "good.png", png())
    before = tab.canvas("Input").screenshot()
    remove(tab)
    give(tab, name, data)
    assert sentence in tab.page.get_by_role("alert").first.inner_text()
    assert tab.canvas("Input").screenshot() == before


def test_uploads_with_alpha_and_16_bit_are_shown_with_a_note(tab):
    tab.open("?input=upload")
    give(tab, "alpha.png", png(mode="RGBA", colour=(10, 20, 30, 0)))
    tab.page.get_by_text("white").first.wait_for()
    remove(tab)
    give(tab, "deep.png", png(mode="I;16", colour=40_000))
    tab.page.get_by_text("16").first.wait_for()
    assert tab.page.get_by_role("alert").count() == 0


def test_a_drawing_is_pooled_and_travels_in_the_link(tab):
    tab.open("?input=drawing")
    box = tab.page.locator(".pad canvas").bounding_box()
    tab.page.mouse.move(box["x"] + 40, box["y"] + 40)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 150, box["y"] + 150, steps=12)
    tab.page.mouse.up()
    tab.page.wait_for_url(re.compile("drawing="))
    tab.idle()
    drawn = tab.canvas("Input").screenshot()
    address = tab.page.url
    tab.page.goto("about:blank")
    tab.url = ""
    tab.open(address)
    tab.page.mouse.move(5, 5)
    tab.page.wait_for_timeout(150)
    shown = np.asarray(Image.open(io.BytesIO(tab.canvas("Input").screenshot())).convert("L"), dtype=float)
    before = np.asarray(Image.open(io.BytesIO(drawn)).convert("L"), dtype=float)
    assert before.std() > 10  # something was drawn
    assert np.abs(shown - before).mean() < 4  # 16 grey levels travel


def edit_cell(tab, row, column, text):
    grid = tab.page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    header = 36
    height = (grid["height"] - header) / 4
    x, y = grid["x"] + (column + 0.5) * grid["width"] / 4, grid["y"] + header + (row + 0.5) * height
    tab.page.wait_for_timeout(500)
    tab.page.mouse.click(x, y)
    tab.page.wait_for_timeout(300)
    if text:
        tab.page.keyboard.type(text, delay=30)
        tab.page.keyboard.press("Enter")
    else:
        tab.page.keyboard.press("Delete")
    tab.page.wait_for_timeout(700)
    tab.idle()


@pytest.mark.parametrize("text, sentence", [("abc", "abc"), ("1e400", "1e400"), ("", "row 1")])
def test_the_number_grid_takes_numbers_and_explains_the_rest(tab, text, sentence):
    tab.open("?input=grid&cell=0,0")
    edit_cell(tab, 0, 0, "7,5")  # a decimal comma
    assert tab.words("Max") == "max(7.5, 3, 0, 9) = 9"
    edit_cell(tab, 1, 1, text)
    assert sentence.lower() in tab.page.get_by_role("alert").first.inner_text().lower()
    assert tab.words("Max") == "max(7.5, 3, 0, 9) = 9"  # the previous picture stays
    edit_cell(tab, 1, 1, "2")
    assert tab.words("Max") == "max(7.5, 3, 0, 2) = 7.5"
    assert "grid=7.5" in tab.page.url


def test_the_widest_difference_is_one_click_away(tab):
    tab.open("?lens=difference&cell=0,3")
    tab.page.get_by_role("button", name=re.compile("widest difference")).click()
    tab.page.wait_for_function("root => root.dataset.cell !== '0,3'", arg=tab.page.locator(".stage").element_handle())
    assert tab.cell() == divmod(int((MAX - AVERAGE).abs().argmax()), 4)
    tab.page.mouse.click(*tab.point("Max", 0, 3, (4, 4)))  # and a click on the first cell counts again
    tab.page.wait_for_url(re.compile(r"cell=0%2C3"))


def test_play_stays_on_a_map_that_shrinks(tab):
    tab.open("?kernel=2&stride=1&cell=5,5")
    tab.page.get_by_role("button", name="▶ Play").click()
    tab.page.get_by_label("Stride", exact=True).fill("4")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(re.compile("stride=4"))
    tab.idle()
    for _ in range(12):
        tab.page.wait_for_timeout(150)
        assert max(tab.cell()) <= 1


def test_impatient_clicking_does_not_kill_the_page(tab):
    tab.open("?input=photo&size=112")
    for number in range(60):
        tab.page.mouse.click(*tab.point("Max", 10 + number % 30, 5 + number % 40, (56, 56)))
        tab.page.wait_for_timeout(60)
    tab.page.wait_for_url(re.compile(r"cell=39%2C24"))
    tab.page.get_by_label("Kernel size", exact=True).fill("3")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(re.compile("kernel=3"))  # the session still answers


def test_stepping_tells_the_server_once_it_rests(tab):
    tab.open("?cell=0,0")
    sent = len(tab.sent)
    for _ in range(5):
        tab.page.get_by_role("button", name="Next cell").click()
    tab.page.wait_for_timeout(100)
    assert tab.cell() == (1, 1)
    tab.page.wait_for_url(re.compile(r"cell=1%2C1"))
    tab.idle()
    assert len(tab.sent) - sent <= 3  # the cell, and what Streamlit sends of its own


def test_a_channel_is_picked_from_the_contact_sheet(tab):
    tab.open("?input=photo&map=gabor&lens=channels")
    assert tab.page.locator(".sheet button").count() == 32
    tab.page.get_by_role("button", name="Channel 9", exact=True).click()
    tab.page.wait_for_url(re.compile("channel=9"))
    tab.idle()
    assert tab.page.get_by_role("button", name="Channel 9", exact=True).get_attribute("aria-pressed") == "true"
    tab.page.get_by_role("combobox", name=re.compile("Channel")).click()
    tab.page.get_by_role("option", name=re.compile("^2:")).click()
    tab.page.wait_for_url(re.compile("channel=2"))
    tab.idle()
    sent = len(tab.sent)
    tab.page.wait_for_timeout(1000)
    assert len(tab.sent) == sent  # and the page is at rest
    tab.page.get_by_role("button", name="Channel 9", exact=True).click()
    tab.page.wait_for_url(re.compile("channel=9"))


@pytest.mark.parametrize("kind, start", [("PNG", b"\x89PNG"), ("SVG", b"<svg"), ("CSV", b"# Handwritten digit 3")])
def test_downloads(tab, kind, start):
    tab.open()
    tab.page.get_by_role("button", name="Save").click()
    with tab.page.expect_download() as caught:
        tab.page.get_by_role("button", name=re.compile(kind)).click()
    data = caught.value.path().read_bytes()
    assert data.lower().startswith(start.lower())
    if kind == "SVG":
        assert b"kernel 2, stride 2" in data and b"stochastic" in data.lower()


def test_a_bad_link_falls_back_with_a_notice(tab):
    tab.open("?kernel=99&operators=max,%3Cscript%3Ealert(1)%3C/script%3E&cell=abc&seed=3")
    notice = tab.page.get_by_role("alert").first.inner_text()
    for name in ("kernel", "operators", "cell"):
        assert name in notice
    assert "seed" not in notice
    assert tab.words("Max").startswith("max(")


@pytest.mark.parametrize("lens", ["Channels", "Gradient", "Overlap", "Chance", "Shift and noise", "Repeat"])
def test_every_lens_opens(tab, lens):
    tab.open("?input=photo&map=edges")
    tab.page.get_by_test_id("stButtonGroup").filter(has_text="Difference").get_by_text(lens, exact=True).click()
    tab.page.wait_for_url(re.compile("lens="))
    tab.idle()
    if lens in ("Chance", "Shift and noise"):
        tab.page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first.wait_for()
    assert tab.page.locator("[data-testid=stException]").count() == 0


@pytest.mark.parametrize("width, height", [(1440, 900), (1920, 1080), (768, 1024)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(chromium, server, width, height, scheme, tmp_path):
    from tests.browser.conftest import Tab

    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = Tab(context, server.url).open("?operators=max,average,stochastic,softmax-stochastic&kernel=3&padding=1")
    sizes = tab.page.evaluate(
        """() => { const main = document.querySelector('[data-testid="stMain"]');
                   return [main.scrollWidth, main.clientWidth]; }"""
    )
    cards = [card.bounding_box() for card in tab.page.locator(".card").all()]
    context.close()
    assert sizes[0] <= sizes[1]
    assert len(cards) == 5 and all(box["x"] + box["width"] <= width for box in cards)


@pytest.mark.parametrize(
    "query, most",
    [("", 300_000), ("?input=photo&size=112&kernel=8&stride=1", 6_000_000)],
    ids=["default", "largest"],
)
def test_payload_is_light(tab, query, most):
    received = []
    tab.page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
    tab.open(query)
    assert 0 < sum(received) < most, json.dumps(received)
