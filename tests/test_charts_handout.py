"""The HTML report: one file, nothing loaded, every text text."""

import functools
import json
import re
from html.parser import HTMLParser

import pytest

from poolviz.charts.bands import Runs, bands_figure
from poolviz.charts.entries import Entry, Reported
from poolviz.charts.figure import picture
from poolviz.charts.handout import Section, Table, chart_spec, html_report, said
from poolviz.charts.leaderboard import leaderboard_figure

NASTY = '</script><script>alert(1)</script> <img src=x onerror=alert(2)> & "it\'s" {{x}}'
ROWS = [{"pooling": NASTY, "error": 0.91234567, "n": 5, "ok": True, "low": None}, {"pooling": "Max", "error": 1.5}]
LOADING = {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}


def leaderboard():
    groups = [Entry(NASTY, "#D55E00", {1: 0.9, 2: 1.0}, 0.95, 0.3, 1.6)]
    return leaderboard_figure(groups, [Reported(NASTY, "B", 1.19)], NASTY, "%", "low")


@functools.cache
def report():
    return html_report(NASTY, [Section(NASTY, [NASTY, Table(NASTY, ROWS), leaderboard()]), Section("Empty", [])])


class Reader(HTMLParser):
    """What an HTML parser finds: elements with their attributes, texts by element, scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [text for where, text in self.texts if where == tag]


def test_hostile_texts_stay_texts_everywhere():
    read = Reader(report())
    assert [tag for tag, _ in read.elements if tag == "img"] == []
    assert sum(tag == "script" for tag, _ in read.elements) == 3  # the chart's data, Vega, our own lines
    assert all(not name.startswith("on") for _, attributes in read.elements for name in attributes)
    for tag in ("title", "h1", "h2", "p", "caption", "td", "strong"):
        assert NASTY in "".join(read.of(tag)), tag


def test_a_charts_data_come_through_unharmed():
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', report(), re.DOTALL)
    spec = json.loads(content)
    assert spec["datasets"]["rows"][0]["group"] == NASTY
    assert spec["width"] == "container" and "$schema" not in spec


def test_nothing_is_loaded_from_anywhere():
    read = Reader(report())
    for tag, attributes in read.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert not LOADING & set(attributes), (tag, attributes)
    outside_of_scripts = re.sub(r"<script.*?</script>", "", report(), flags=re.DOTALL)
    assert re.findall(r"https?:|//\w|url\(|@import", outside_of_scripts) == []
    data = "".join(re.findall(r'<script type="application/json">(.*?)</script>', report(), re.DOTALL))
    assert "http" not in data
    # Vega's own text names XML namespaces, its schema, and help and editor pages that are opened by hand alone
    known = ("http://www.w3.org/", "https://vega.github.io/", "https://github.com/vega/")
    addresses = re.findall(r"https?://[\w./-]+", report())
    assert addresses and [one for one in addresses if not one.startswith(known)] == []


def test_the_browser_is_told_to_load_nothing():
    policies = [a["content"] for _, a in Reader(report()).elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and "default-src 'none'" in policies[0] and "http" not in policies[0]


def test_language_title_captions_and_words_for_charts_are_there():
    read = Reader(report())
    tags = [tag for tag, _ in read.elements]
    assert dict(read.elements[0][1]) == {"lang": "en"} and "title" in tags
    assert tags.count("caption") == tags.count("table") == 1
    (chart,) = [attributes for _, attributes in read.elements if attributes.get("class") == "chart"]
    assert chart["role"] == "img" and chart["aria-label"] == leaderboard().alt


def test_vega_comes_once_and_only_where_there_is_a_chart():
    twice = html_report("t", [Section("s", [leaderboard(), leaderboard()])])
    assert len(twice) - len(report()) < 30_000
    assert len(html_report("t", [Section("s", ["text"])])) < 10_000


def test_light_dark_and_paper_are_told_by_css():
    assert "prefers-color-scheme: dark" in report() and "@media print" in report()
    assert chart_spec(leaderboard())["config"]["axis"]["labelColor"] == "currentColor"


def test_columns_of_numbers_are_right_aligned_and_what_is_missing_is_said():
    page = html_report("t", [Section("s", [Table("c", ROWS)])])
    assert '<th scope="col" class="number">error</th>' in page and '<th scope="col">pooling</th>' in page
    assert '<td class="number">0.9123</td>' in page
    assert page.count("<td") == 10  # a row that lacks a column has a cell all the same


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.00912345, "0.009123"),
        (1199882, "1,199,882"),
        (123456.7, "123,457"),
        (False, "no"),
        ("a", "a"),
    ],
)
def test_values_in_words(value, words):
    assert said(value) == words


def test_an_unknown_block_is_named():
    with pytest.raises(TypeError, match="got int"):
        html_report("t", [Section("s", [3])])


def test_charts_that_isolate_groups_may_share_a_picture():
    runs = Runs("Max", "#D55E00", [[{"kind": "epoch", "step": 1, "epoch": 1, "validation_loss": 0.5}]])
    curves = bands_figure([runs], "loss", "epoch")
    assert picture([leaderboard(), curves], "both", "svg").startswith(b"<svg")
