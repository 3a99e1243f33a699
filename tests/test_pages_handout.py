"""Handouts: one file a view or a lesson, made outside of the session, with torch's numbers and nothing to load."""

import base64
import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from streamlit.testing.v1 import AppTest

from poolviz import __version__
from poolviz.inputs import images
from poolviz.lessons.lesson import Address, Lesson, Option, Question, Step
from poolviz.pages import feature_maps, handout, sentences
from poolviz.pages.handout import Handout, LessonHandout, Told, blank, component, tell_step
from poolviz.pages.parameters import LENSES as MAP_LENSES
from poolviz.pages.sentence_parameters import LENSES as SENTENCE_LENSES
from tests.test_charts_handout import Reader

ROOT = Path(__file__).parents[1]
NASTY = '</script><img src=x onerror=alert(1)> & "it\'s" *bold* `code` ]]> <!-- <script>'
MOST = 1_500_000  # bytes of a file without charts
DATA = re.compile(r'data-component="(\w+)".*?<script type="application/json">(.*?)</script>', re.DOTALL)


@pytest.fixture
def taken(monkeypatch, tmp_path):
    """Opens a page and returns what its download buttons would make, by label: as Streamlit calls it, later."""
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path))
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)
    files = {}
    monkeypatch.setattr("streamlit.download_button", lambda label, make, *_, **__: files.update({label: make}))

    def open_at(**query):
        files.clear()
        app = AppTest.from_file(ROOT / "streamlit_app.py", default_timeout=120)
        app.query_params.update(query)
        app.run()
        assert not app.exception, [each.message for each in app.exception]
        return files

    return open_at


def text_of(files, label="Handout (HTML)"):
    return files[label]().decode()


def given(page):
    """What each component of a file is given to draw."""
    return {name: json.loads(data) for name, data in DATA.findall(page)}


def floats(sent):
    return torch.tensor(np.frombuffer(base64.b64decode(sent["values"]), "<f4").reshape(sent["height"], sent["width"]))


def harmless(page):
    """No element of a visitor's making, and nothing that an element loads or runs."""
    read = Reader(page)
    assert not {"img", "iframe", "link", "object", "embed", "base"} & {tag for tag, _ in read.elements}
    assert all(not name.startswith("on") for _, attributes in read.elements for name in attributes)
    assert all("src" not in attributes for _, attributes in read.elements)
    return read


@pytest.mark.parametrize("lens", [lens for lens in MAP_LENSES if lens != "answers"])
def test_each_lens_of_the_maps_has_one_with_torchs_numbers(taken, lens):
    page = text_of(taken(lens=lens, operators="max,average", seed="7"))
    stage = given(page)["stage"]
    digit = images.digit(3).pixels
    for output, pool in zip(stage["outputs"], (F.max_pool2d, F.avg_pool2d), strict=True):
        assert torch.equal(floats(output), pool(digit[None], 2)[0, 0])
    today = datetime.date.today()
    assert f"poolviz {__version__} on {today.day} {today:%B %Y}. Seed: 7." in page
    assert page.count("<math ") == 2 and f"lens={lens}" in page or lens == "outputs"
    charts = "vegaEmbed" in page
    assert charts == (lens in ("chance", "invariance"))
    assert charts or len(page) < MOST


def test_a_lens_that_runs_by_itself_hands_out_what_it_shows_now(taken):
    page = text_of(taken(lens="chance", draws="30", cell="1,2"))
    assert "30 draws from the window of (1, 2)" in page
    assert page.count('class="chart"') == 3


@pytest.mark.parametrize("query", [{"size": "112", "kernel": "3", "stride": "1"}, {"size": "112", "map": "gabor"}])
def test_large_maps_stay_below_the_bound(taken, query):
    page = text_of(taken(input="photo", operators="max,average,stochastic", **query))
    assert len(page) < MOST


SENTENCES = {"tokens": "tokens", "speech": "speech", "padding": "tokens"}


@pytest.mark.parametrize("lens", list(SENTENCE_LENSES))
def test_each_lens_of_the_sentences_has_one_and_its_text_is_text(monkeypatch, taken, lens):
    files = sentence_files(monkeypatch, taken, source="own", text=f"{NASTY}\nAnother one.", lens=lens)
    page = text_of(files)
    read = harmless(page)
    assert NASTY.split(" ")[0] in "".join(read.of("h1"))
    assert set(given(page)) == ({SENTENCES[lens]} if lens in SENTENCES else set())
    if lens == "tokens":
        assert len(page) < MOST and given(page)["tokens"]["title"].startswith(NASTY[:40])


def sentence_files(monkeypatch, taken, **query):
    """The sentence page's, which takes the place of the app's first page."""
    monkeypatch.setattr(feature_maps, "page", sentences.page)
    return taken(**query)


# ---- lessons


def test_a_lesson_in_progress(taken):
    """Answers are known of what was predicted, by torch's own average; the others have links and no figures."""
    average = F.avg_pool2d(torch.tensor([[[0.0, 0], [0, 8]]]), 2).item()
    before = text_of(taken(lesson="sparse", step="2"), "Handout")
    page = text_of(taken(lesson="sparse", step="2", answers="2:1"), "Handout")
    assert f"Right: {average:g}" in page and f"Right: {average:g}" not in before
    assert page.count('class="box"') == 4 and page.count("On the server: ") == 5
    assert all(f"lesson=sparse&amp;step={number}" in page for number in range(1, 6))
    assert set(given(page)) == {"stage"} and [o["title"] for o in given(page)["stage"]["outputs"]] == ["Max", "Average"]
    assert page.index("<h2>Answers</h2>") > page.index("step=5")
    assert blank("{max.output}") in page.split("<h2>Answers</h2>")[1]


def asking(kind="number", then=None, **more):
    question = Question(f"{NASTY} ask?", kind, f"{NASTY} it is {{max.output:.2f}}", **more)
    return Step(NASTY, f"{NASTY}\n\nA **strong** word of {{map.cells}}", Address("feature-maps", {}), question, then)


FACTS = {"max.output": lambda: 0.5, "map.cells": lambda: 64}


def test_an_answer_waits_for_the_view_that_belongs_to_it():
    number = asking(answer="max.output", unit="%")
    assert tell_step(number, FACTS, False, Told()).answer == "0.5 %"
    later = asking(answer="max.output", then={"lens": "gradient"})
    assert tell_step(later, FACTS, False, Told()).answer is None
    assert tell_step(later, FACTS, True, Told()).reveal.endswith("it is 0.50")
    assert tell_step(asking("cell", answer="max.output"), FACTS, False, Told()).reveal is None
    assert tell_step(number, {}, True, Told()) == Told()


def test_what_was_told_stays_when_the_view_is_changed():
    step = asking(answer="max.output")
    first = tell_step(step, FACTS, True, Told())
    assert tell_step(step, FACTS | {"max.output": lambda: 9.0}, True, first) == first


def test_a_choice_names_the_right_one():
    options = (Option(NASTY, "max.output > 1"), Option("small", "max.output < 1"))
    assert tell_step(asking("choice", options=options), FACTS, True, Told()).answer == "small"


def test_the_view_after_an_answer_stands_among_the_answers():
    lesson = Lesson("name", "title", "about", 1, (asking(answer="max.output"),))
    shown = Handout("t", "The view itself.", "0", "", list)
    for answered in (False, True):
        page = LessonHandout(lesson, {}, [""], 1, answered, shown).html().decode()
        assert page.count("The view itself.") == 1
        assert (page.index("The view itself.") > page.index("<h2>Answers")) == answered


def test_hostile_texts_of_a_lesson_stay_texts():
    options = (Option(NASTY, "max.output > 1"), Option("small", "max.output < 1"))
    steps = (asking("choice", options=options), asking(answer="max.output", unit=NASTY))
    lesson = Lesson("name", NASTY, NASTY, 1, steps)
    told = {1: tell_step(steps[0], FACTS, True, Told())}
    shown = Handout(NASTY, NASTY, NASTY, "javascript:alert(1)", lambda: [component("speech", NASTY, {"a": NASTY})])
    page = LessonHandout(lesson, told, [NASTY, "javascript:alert(1)"], 1, False, shown).html().decode()
    read = harmless(page)
    assert [attributes for tag, attributes in read.elements if tag == "a"] == []
    assert NASTY in read.of("h1")[0] and given(page)["speech"] == {"a": NASTY}
    assert "<strong>strong</strong>" in page and "of 64" in page and blank("of {map.cells}") in page


def test_a_component_without_its_one_function_is_named(monkeypatch):
    monkeypatch.setitem(handout.SOURCES, "poolviz_none", {"html": "", "css": "", "js": "function other() {}"})
    shown = Handout("t", "s", "0", "", lambda: [component("none", "words", {})])
    with pytest.raises(ValueError, match="'none' needs exactly one"):
        shown.html()
