"""The sentence page in a real browser with the real encoder: hover, keys, links, typed texts, lenses, downloads."""

import csv
import json
import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import torch

from poolviz.inputs.encoder import load_encoder
from poolviz.inputs.sentences import EXAMPLES
from poolviz.pages.sentence_parameters import LENSES
from poolviz.pooling import pool_sequence
from tests.browser.conftest import Tab

pytestmark = pytest.mark.browser

BANK = EXAMPLES["bank"]
HEAD, TALL = 40, 400  # pixels of the board above its rows, and of the rows
READY = {"tokens": ".tokens[data-painted]", "padding": ".tokens[data-painted]", "speech": ".speech .piece"}
CHART = "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"
READY |= {"pieces": "[data-testid=stDataFrame]", "layers": CHART, "draws": CHART, "pairs": CHART}


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def hidden(encoder):
    """(T, H) of the sentence that the page opens with."""
    return encoder.encode(BANK[0]).hidden[-1]


def shown(value):
    """As the page writes a number: four digits, three below 1."""
    return float(f"{value:.{3 if abs(value) < 1 else 4}g}")


def result(line):
    """The number that an operator's arithmetic ends in."""
    found = re.findall(r"(?:[=≈]|token's) (−?[\d.]+(?:e[+−]?\d+)?)(?:, from .*)?$", line, re.DOTALL)
    return float(found[-1].replace("−", "-"))


def spot(tab, token, share, count):
    """A point of the heatmap: the middle of a token's row, at a share of the board's width."""
    box = tab.page.locator(".tokens canvas").bounding_box()
    row = max(2, min(28, TALL / count))
    return box["x"] + share * box["width"], box["y"] + HEAD + (token + 0.5) * row


def wait_for_place(tab, token):
    tab.page.wait_for_function(
        "([root, token]) => root.dataset.place.startsWith(token + ',')",
        arg=[tab.page.locator(".tokens").element_handle(), str(token)],
    )
    return tab.place()


def lens(tab, name):
    tab.page.get_by_test_id("stButtonGroup").filter(has_text="Who speaks?").get_by_text(name, exact=True).click()


def text_of_board(tab):
    return "".join(tab.page.locator(".tokens .sentence").first.inner_text().split())


def write(tab, text):
    """Type a text as a visitor does, and apply it."""
    tab.page.get_by_role("textbox", name="One sentence a line").fill(text)
    tab.page.keyboard.press("Control+Enter")
    tab.page.wait_for_timeout(400)
    tab.idle()


# ---- one place, followed


def test_hover_shows_torchs_numbers_without_a_word_to_the_server(tab, hidden):
    tab.sentences("?operators=cls,mean,max")
    tab.page.mouse.move(5, 5)
    sent, seen = len(tab.sent), set()
    for token, share in ((0, 0.15), (3, 0.25), (5, 0.35), (7, 0.45), (10, 0.5), (2, 0.3)):
        tab.page.mouse.move(*spot(tab, token, share, len(hidden)))
        _, dimension = wait_for_place(tab, token)
        column = hidden[:, dimension]
        for title, truth in (("CLS", column[0]), ("Mean", column.mean()), ("Max", column.max())):
            assert result(tab.line(title)) == pytest.approx(shown(float(truth)), rel=1e-3, abs=1e-6), tab.line(title)
        assert tab.line("Max").startswith("max(") and f"/ {len(hidden)}" in tab.line("Mean")
        seen.add(dimension)
    assert len(seen) == 6 and len(tab.sent) == sent
    tab.page.mouse.move(5, 5)  # and what is kept comes back
    tab.page.wait_for_timeout(80)
    assert tab.place() not in seen


def test_hover_over_a_word_moves_the_token_alone(tab):
    tab.sentences()
    _, dimension = tab.place()
    sent = len(tab.sent)
    for token in (1, 4, 9):
        tab.page.locator(".tokens .piece").nth(token).hover()
        assert wait_for_place(tab, token) == (token, dimension)
        here = tab.page.locator(".tokens .piece.here")
        assert here.count() == 1
        assert here.inner_text() == tab.page.locator(".tokens .piece").nth(token).inner_text()
    assert len(tab.sent) == sent


def test_arrow_keys_reach_every_place_and_the_edges_hold(tab, hidden):
    tab.sentences("?order=index&place=1,1&operators=mean,max")
    tab.page.locator(".tokens canvas").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        tab.page.keyboard.press(key)
    tab.page.wait_for_timeout(80)
    assert tab.place() == (0, 0)
    for _ in range(len(hidden) + 3):
        tab.page.keyboard.press("ArrowDown")
    for _ in range(390):
        tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_timeout(80)
    assert tab.place() == (len(hidden) - 1, 383)
    spoken = tab.page.locator(".tokens .live").inner_text()
    assert spoken.startswith("Token [SEP], dimension 383: ") and "Max: max(" in spoken
    tab.page.wait_for_url(re.compile(rf"place={len(hidden) - 1}%2C383"))


def test_arrow_keys_follow_the_order_that_is_shown(tab, hidden):
    tab.sentences("?order=variance&place=0,0")
    tab.page.locator(".tokens canvas").focus()
    order = hidden.var(0, correction=0).argsort(descending=True).tolist()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_timeout(80)
    assert tab.place() == (0, order[min(383, order.index(0) + 1)])


def test_a_click_is_kept_in_the_link_and_the_link_restores_it(tab, hidden):
    tab.sentences("?operators=cls,max&order=index&layer=6")
    tab.page.mouse.click(*spot(tab, 6, 0.4, len(hidden)))
    tab.page.wait_for_url(re.compile(r"place=6%2C\d+"))
    tab.idle()
    place, words = tab.place(), tab.line("Max")
    assert f"place={place[0]}%2C{place[1]}" in tab.page.url
    address = tab.page.url
    tab.page.goto("about:blank")
    tab.page.goto(address)
    tab.page.locator(READY["tokens"]).wait_for()
    tab.idle()
    assert tab.place() == place and tab.line("Max") == words
    assert "operators=cls%2Cmax" in tab.page.url and "order=index" in tab.page.url


def test_the_temperature_repaints_and_keeps_the_place(tab, hidden):
    tab.sentences("?operators=softmax-stochastic&place=3,40")
    for press, temperature in (("ArrowLeft", 0.3), ("ArrowLeft", 0.1)):
        tab.page.get_by_role("slider", name=re.compile("Temperature")).press(press)
        tab.page.wait_for_url(re.compile(f"temperature={temperature}"))
        tab.idle()
        truth = pool_sequence(hidden[None], None, "softmax-stochastic", temperature=temperature)[0, 40]
        assert result(tab.line("Softmax-stochastic")) == pytest.approx(shown(float(truth)), rel=2e-3)
        assert tab.place() == (3, 40)


# ---- the other lenses


def test_shares_of_speech_are_torchs_and_hover_stays_in_the_browser(tab, hidden):
    tab.sentences("?lens=speech&operators=mean,max,softmax-stochastic", READY["speech"])
    sections = tab.page.locator(".speech section")
    truths = {
        0: torch.full((len(hidden),), 1 / len(hidden)),
        1: hidden.argmax(0).bincount(minlength=len(hidden)) / 384,
        2: hidden.softmax(0).mean(1),
    }
    for number, truth in truths.items():
        found = sections.nth(number).locator(".piece").evaluate_all("all => all.map(word => word.dataset.share)")
        assert [float(text) for text in found] == pytest.approx((100 * truth).tolist(), abs=0.51)
    sent = len(tab.sent)
    sections.nth(0).locator(".piece").nth(3).hover()
    assert tab.page.locator(".speech .piece.here").count() == 3  # the same word under each pooling
    won = int(hidden.argmax(0).bincount(minlength=len(hidden))[3])
    assert f"in {won} of 384 dimensions" in sections.nth(1).locator("h4").inner_text()
    assert len(tab.sent) == sent


def saved(tab, kind):
    tab.page.get_by_role("button", name="Save").click()
    with tab.page.expect_download() as caught:
        tab.page.get_by_role("button", name=f"({kind})").click()
    data = caught.value.path().read_bytes()
    tab.page.keyboard.press("Escape")
    return data


def table(data):
    """Rows of a CSV under its caption."""
    return list(csv.reader(line for line in data.decode().split("\n") if line and not line.startswith("#")))


def test_padding_toggles_change_the_errors(tab):
    tab.sentences("?lens=padding&operators=mean,max")
    errors = {}
    clicks = {"deaf": ("and in the encoder", "deaf=yes"), "known": ("Forget the mask", "forget=no")}
    for name in ("forgotten", *clicks):
        if name in clicks:
            words, address = clicks[name]
            tab.then(tab.page.get_by_text(words).click, address)
        if name == "known":
            tab.page.get_by_text("With the mask every vector is right").wait_for()
            continue
        rows = table(saved(tab, "CSV"))
        errors[name] = {row[0]: float(row[1]) for row in rows[1:3]}
    assert 0.01 < errors["forgotten"]["Mean"] != errors["deaf"]["Mean"] > 0.01
    assert tab.page.locator(".tokens .piece.padding").count() == 8


def test_the_pairs_lens_shows_cosines(tab, encoder):
    tab.sentences("?lens=pairs&operators=cls,max", READY["pairs"])
    rows = table(saved(tab, "CSV"))
    for name, label in (("cls", "CLS"), ("max", "Max")):
        vectors = torch.stack([pool_sequence(encoder.encode(t).hidden[-1][None], None, name)[0] for t in BANK])
        truth = torch.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
        found = [float(row[3]) for row in rows if len(row) == 4 and row[0] == label and row[3] != "cosine"]
        matrix = torch.tensor(found[-16:]).reshape(4, 4)
        torch.testing.assert_close(matrix, truth, atol=1e-5, rtol=0)
    assert tab.page.locator("[data-testid=stVegaLiteChart]").count() == 3  # ranks, and a matrix a pooling


@pytest.mark.parametrize("name", list(LENSES))
def test_nothing_is_cut_off(chromium, server, name):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    tab = Tab(context, server.url).sentences(
        f"?lens={name}&operators=cls,mean,max,softmax-stochastic,mean-max", READY[name]
    )
    for width, height in ((1440, 900), (1920, 1080), (768, 1024)):
        tab.page.set_viewport_size({"width": width, "height": height})
        tab.page.wait_for_timeout(500)
        sizes = tab.page.evaluate(
            """() => { const main = document.querySelector('[data-testid="stMain"]'), all = document.scrollingElement;
                       return [main.scrollWidth, main.clientWidth, all.scrollWidth, all.clientWidth]; }"""
        )
        assert sizes[0] <= sizes[1] and sizes[2] <= sizes[3], (width, sizes)
        main = tab.page.get_by_test_id("stMain")
        charts = main.locator("[data-testid=stVegaLiteChart], .tokens canvas, .speech .sentence")
        for box in [chart.bounding_box() for chart in charts.all()]:
            assert box["x"] + box["width"] <= width + 1, (width, box)
    assert tab.problems == [] and tab.page.get_by_test_id("stException").count() == 0
    context.close()


def test_impatient_clicking_leaves_a_live_page(tab):
    tab.sentences()
    names = list(LENSES.values())
    slider = tab.page.get_by_role("slider", name="Layer")
    for number in range(30):  # eight of them move the layer too
        lens(tab, names[(number * 3) % len(names)])
        if number % 4 == 0:
            slider.press("ArrowLeft" if number < 15 else "ArrowRight")
        tab.page.wait_for_timeout(60)
    lens(tab, "Tokens")
    tab.page.locator(READY["tokens"]).wait_for()
    tab.idle()
    tab.page.get_by_role("slider", name=re.compile("Temperature")).press("ArrowRight")
    tab.page.wait_for_url(re.compile("temperature=3"))
    assert tab.page.get_by_test_id("stException").count() == 0


# ---- a visitor's own text


def test_a_typed_text_is_read_at_ctrl_enter_and_kept_in_the_link(tab, encoder):
    tab.sentences("?source=own&operators=max&place=1,5")
    write(tab, "Pooling is unbelievably simple.\nOr is it?")
    hidden = encoder.encode("Pooling is unbelievably simple.").hidden[-1]
    assert result(tab.line("Max")) == pytest.approx(shown(float(hidden[:, 5].max())), rel=1e-3)
    assert "Poolingisunbelievablysimple." in text_of_board(tab)
    assert "text=Pooling" in tab.page.url
    tab.page.goto(tab.page.url)
    tab.page.locator(READY["tokens"]).wait_for()
    tab.idle()
    assert "unbelievably" in text_of_board(tab)


HOSTILE = [
    "<img src=x onerror=alert(1)><script>alert(2)</script> <b>bold</b>",
    "![x](http://evil.example/x.png) [a](javascript:alert(1)) <a href='http://evil.example'>y</a>",
    "**b** _i_ :red[x] $x$ `c` :material/home: :smile: # h | t",
    "القطة تنام على السجادة. שלום",
    "猫在垫子上睡觉。 The 🐈 and the scientist 👩🏽‍🔬 sleep.",
    "e\u0301" + "\u0301" * 300 + " zalgo \u200b\u200d\ufeff end",
    "{{7*7}} ${7*7} <% %> '; DROP TABLE x; -- \\u0000 %00",
]


def listed(tab):
    """The sentences as the pairs lens lists them, without the joiners that nobody sees."""
    main = tab.page.get_by_test_id("stMain")
    (block,) = (text for text in main.locator("p").all_inner_texts() if text.startswith("1: "))
    return [line.strip() for line in block.replace("\u2060", "").split("\n")]


def test_hostile_texts_are_text_in_every_lens(tab):
    dialogs = []
    tab.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    tab.sentences("?source=own")
    for text in HOSTILE:
        write(tab, text)
        # a browser leaves out a byte order mark when it is asked for its text
        assert text_of_board(tab) == "[CLS]" + "".join(text.replace("\ufeff", "").split()) + "[SEP]"
    write(tab, "\n".join(HOSTILE))  # several, so that they are listed too
    main = tab.page.get_by_test_id("stMain")
    for name in list(LENSES.values())[1:]:
        lens(tab, name)
        tab.page.wait_for_timeout(300)
        tab.idle()
        assert main.locator("img, script, iframe, a[href*=evil], a[href^=javascript]").count() == 0
    labels = [f"{number}: {text}" for number, text in enumerate(HOSTILE, 1)]
    assert listed(tab) == [label if len(label) <= 120 else label[:119] + "…" for label in labels]
    assert dialogs == [] and tab.page.get_by_test_id("stException").count() == 0


def test_what_streamlits_markdown_would_change_is_shown_as_it_was_typed(tab):
    texts = ["a -> b <- c -- d >= e", "AT&amp;T &lt;b&gt; &copy;", ":material/home: :streamlit:", "1. one", "2) two"]
    tab.sentences(f"?source=own&lens=pairs&text={quote(chr(10).join(texts))}", READY["pairs"])
    assert listed(tab) == [f"{number}: {text}" for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("word " * 600, "Cut:"),
        ("\n".join(f"Line {n}." for n in range(200)), "the first 12 are used"),
        ("null\x00 bell\x07 escape\x1b[31m", "control characters"),
        ("x" * 100_000, "first 2,000 are used"),
        ("   \n  ", "nothing that can be read"),
    ],
    ids=["600 words", "200 lines", "control", "100,000", "spaces"],
)
def test_bad_texts_are_a_sentence_and_the_page_lives(tab, text, sentence):
    tab.sentences("?source=own")
    write(tab, text)
    tab.page.get_by_text(sentence).first.wait_for()
    assert tab.page.get_by_test_id("stException").count() == 0
    write(tab, "Still here.")
    assert "Stillhere." in text_of_board(tab)


# ---- downloads, two pages


def test_downloads_of_the_tokens_and_of_a_chart(tab, hidden):
    tab.sentences("?operators=mean,max")
    assert saved(tab, "PNG").startswith(b"\x89PNG")
    svg = saved(tab, "SVG")
    assert svg.startswith(b"<svg") and b"layer 6" in svg and BANK[0].encode() in svg
    rows = table(saved(tab, "CSV"))
    values = torch.tensor([[float(cell) for cell in row[1:]] for row in rows[1:]])
    torch.testing.assert_close(values[: len(hidden)], hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(values[-1], hidden.max(0).values, atol=1e-5, rtol=1e-4)
    lens(tab, "Layers")
    tab.page.locator(CHART).first.wait_for()
    tab.idle()
    assert saved(tab, "PNG").startswith(b"\x89PNG")
    assert b"cosine to the last layer" in saved(tab, "SVG")
    layers = [row for row in table(saved(tab, "CSV")) if len(row) == 5 and row[0] == "Max" and row[1] == "6"]
    assert float(layers[0][2]) == pytest.approx(1)
    assert float(layers[0][3]) == pytest.approx(float(hidden.max(0).values.norm()), rel=1e-4)


def test_both_pages_keep_their_state_and_their_address(tab):
    tab.sentences("?operators=last,max&order=variance&layer=2&place=2,7")
    mine, words = parse_qs(urlsplit(tab.page.url).query), tab.line("Max")
    for _ in range(2):
        tab.page.get_by_role("link", name="Feature maps").click()
        tab.page.locator(".stage[data-painted]").wait_for()
        tab.idle()
        assert "sentences" not in tab.page.url and "layer" not in tab.page.url and "order" not in tab.page.url
        assert tab.words("Max").startswith("max(")
        tab.page.get_by_role("link", name="Sentences").click()
        tab.page.locator(READY["tokens"]).wait_for()
        tab.idle()
        assert parse_qs(urlsplit(tab.page.url).query) == mine
        assert tab.place() == (2, 7) and tab.line("Max") == words


def test_payload_is_light(tab):
    received = []
    tab.page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
    tab.sentences()
    assert 0 < sum(received) < 300_000, json.dumps(received)
    received.clear()
    tab.sentences(f"?source=own&text={quote('word ' * 390)}&operators=max,softmax-stochastic")
    assert 0 < sum(received) < 6_000_000, json.dumps(received)


def choose(tab, label, option):
    tab.page.get_by_label(label, exact=True).click()
    tab.page.get_by_role("option", name=option).first.click()
    tab.idle()


def test_a_chosen_number_stays_where_its_options_are_named_anew(tab):
    """A select box answers with the label that it shows, which may be one of before."""
    tab.sentences()
    choose(tab, "Sentence", "3:")
    choose(tab, "Which", "Same words")
    for lens in ("Who speaks?", "Pairs", "Layers"):
        tab.page.get_by_role("radio", name=lens).or_(tab.page.get_by_role("button", name=lens)).first.click()
        tab.idle()
        assert tab.page.get_by_label("Sentence", exact=True).input_value() == f"3: {EXAMPLES['order'][2]}"
        assert tab.page.locator("[data-testid=stException]").count() == 0
    assert "which=2" in tab.page.url


def test_a_chosen_channel_stays_where_channels_are_named_anew(tab):
    tab.open("?input=photo&channel=2")
    choose(tab, "Feature map", "Edge filters")
    for lens in ("Chance", "Outputs"):
        tab.page.get_by_role("radio", name=lens).or_(tab.page.get_by_role("button", name=lens)).first.click()
        tab.idle()
        assert tab.page.get_by_label("Channel (of 8)", exact=True).input_value().startswith("2: ")
        assert tab.page.locator("[data-testid=stException]").count() == 0
