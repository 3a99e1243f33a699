"""A lesson's addresses and figures are looked at before a class sees them: each mistake is one sentence on the list."""

import pytest
import torch
from streamlit.testing.v1 import AppTest

from poolviz.charts.compare import Setting, compare
from poolviz.lessons import reading
from poolviz.lessons.facts import comparison_facts, known_names, map_facts, training_facts
from poolviz.lessons.lesson import PAGES, MissingFactError, Option
from poolviz.pages import lesson_check
from poolviz.pages.lesson_panel import lessons
from tests.test_lessons_reading import GOOD, written


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """What is said of a lesson that is written with something else in the place of something."""

    def of(old="", new=""):
        assert old in GOOD
        written(tmp_path, GOOD.replace(old, new) if old else GOOD)
        return lesson_check.shelf()[1]

    monkeypatch.setenv(reading.SETTING, str(tmp_path))
    lessons.clear()  # pages keep the list for a minute
    yield of
    lessons.clear()


def test_nothing_is_wrong_with_a_good_lesson_and_with_those_that_are_shipped(faults):
    assert faults() == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("feature-maps?operators=max&cell=1,1", "nowhere?x=1", "mine.toml: step 1: show = "),
        ("operators=max&cell=1,1", "operators=biggest", "T, step 1: operators = biggest: known are "),
        ("operators=max&cell=1,1", "kernels=2", "T, step 1: 'kernels' is no part of this page's address"),
        ("operators=max,average", "kernel=99", "T, step 1: kernel = 99: "),
        (
            "{max.output:.2f}",
            "{max.outcome:.2f}",
            "T, step 1: no figure of the page feature-maps is called max.outcome",
        ),
        ("max.output ==", "max.loss ==", "no figure of the page feature-maps is called max.loss"),
        ('"R"', '"{sentence.tokens}"', "no figure of the page feature-maps is called sentence.tokens"),
    ],
)
def test_a_mistake_is_one_sentence(faults, old, new, said):
    (told,) = faults(old, new)
    assert said in told and "\n" not in told


def test_the_list_tells_it(faults):
    faults("{max.output:.2f}", "{max.outcome:.2f}")
    app = AppTest.from_string("from poolviz.pages import link, lessons\nlink.restore(link.FRAME)\nlessons.page()").run()
    assert not app.exception and any("max.outcome" in each.value for each in app.warning)
    assert any("#### T" in each.value for each in app.markdown)  # the lesson can be begun all the same


def test_every_fact_that_a_page_tells_is_known():
    setting = Setting(("max", "average", "stochastic", "none"))
    told = map_facts(compare(torch.rand(6, 6), setting, "t"), setting, (0, 0))
    assert set(told) <= known_names("feature-maps")
    assert set(comparison_facts([], {"A1": None})) | set(training_facts([])) <= known_names("compare") | known_names(
        "train"
    )
    used = {page: set() for page in PAGES}
    for lesson in reading.shelf()[0].values():
        for step in lesson.steps:
            used[step.show.page] |= {name.removesuffix("-percent") for name in step.names()}
    assert all(used[page] and used[page] <= known_names(page) for page in PAGES)


def test_a_distance_is_told_where_two_outputs_are_alike():
    x = torch.rand(6, 6)
    for operators in [("max",), ("max", "none")]:
        setting = Setting(operators)
        assert "apart.share" not in map_facts(compare(x, setting, "t"), setting, (0, 0))


@pytest.mark.parametrize("when", ["c.word > 3", "a.x < 'holds'", "a.x > c.word"])
def test_a_word_is_not_larger_or_smaller(when):
    with pytest.raises(MissingFactError):
        Option("", when).right({"a.x": lambda: 1.5, "c.word": lambda: "holds"})


def test_a_file_of_brackets_is_one_sentence_and_hides_no_other(faults, tmp_path):
    written(tmp_path, "a = " + "[" * 50_000, "deep.toml")
    (told,) = faults()
    assert told.startswith("deep.toml: ") and "mine" in lesson_check.shelf()[0]
