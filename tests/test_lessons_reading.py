"""Lesson files, good and bad: a teacher's mistake is one sentence that names the file and the step."""

import pytest
import torch
import torch.nn.functional as F

from poolviz.charts.compare import Setting, compare
from poolviz.lessons import reading
from poolviz.lessons.facts import map_facts
from poolviz.lessons.lesson import MissingFactError, Option, Question, fact, filled

GOOD = """
title = "T"
about = "A"
minutes = 3
[[steps]]
title = "S"
text = "Max keeps {max.output:.2f}."
show = "feature-maps?operators=max&cell=1,1"
then = "operators=max,average"
[steps.question]
ask = "Which?"
kind = "choice"
reveal = "R"
[[steps.question.options]]
text = "Max"
when = "max.output > average.output and window.zeros >= 0"
[[steps.question.options]]
text = "Neither"
when = "max.output == average.output"
"""


def written(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_lesson_is_read_as_it_was_written(tmp_path):
    lesson = reading.read(written(tmp_path, GOOD, "3-mine.toml"))
    (step,) = lesson.steps
    assert (lesson.name, lesson.title, lesson.minutes) == ("mine", "T", 3)
    assert step.show.page == "feature-maps" and dict(step.show.query) == {"operators": "max", "cell": "1,1"}
    assert dict(step.then) == {"operators": "max,average"}
    assert [option.text for option in step.question.options] == ["Max", "Neither"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "T"', "title = 3", "'title' must be a text"),
        ('about = "A"\n', "", "'about' is missing"),
        ("minutes = 3", "minutes = true", "'minutes' must be a whole number"),
        ("minutes = 3", "minutes = 3\ncolour = 1", "'colour' is unknown; known are title"),
        ('title = "S"\n', "", "step 1: 'title' is missing"),
        ("feature-maps?operators=max&cell=1,1", "https://example.org/", "step 1: show ="),
        ("feature-maps?operators=max&cell=1,1", "../etc?x=1", "step 1: show ="),
        ("feature-maps?operators=max&cell=1,1", "feature-maps?operators", "step 1: show = 'operators'"),
        ('kind = "choice"', 'kind = "guess"', "step 1: kind is 'guess'; known are choice, number, cell"),
        ('kind = "choice"', 'kind = "number"', "step 1: a number has an 'answer'"),
        ("max.output == average.output", "__import__('os')", "step 1: when = '__import__"),
        ("max.output == average.output", "max.output = 3", "step 1: when = 'max.output = 3'"),
        ("max.output == average.output", "max.output", "step 1: when = 'max.output'"),
        ('[[steps.question.options]]\ntext = "Neither"\nwhen = "max.output == average.output"\n', "", "two options"),
        ("[[steps]]", "[[steps", "it is no TOML"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, old, new, said):
    assert old in GOOD
    with pytest.raises(ValueError) as caught:
        reading.read(written(tmp_path, GOOD.replace(old, new)))
    told = str(caught.value)
    assert told.startswith("mine.toml: ") and said in told and "\n" not in told.strip()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Mine Lesson.toml", GOOD),
        ("bytes.toml", b"\xff\xfe\x00"),
        ("large.toml", "# " + "x" * 300_000),
        ("empty.toml", ""),
        ("steps.toml", 'title = "T"\nabout = "A"\nminutes = 3\nsteps = []\n'),
        ("text.toml", 'title = "T"\nabout = "A"\nminutes = 3\nsteps = ["a"]\n'),
    ],
)
def test_a_file_that_is_no_lesson_is_told(tmp_path, name, content):
    with pytest.raises(ValueError, match=name.replace(" ", ".")):
        reading.read(written(tmp_path, content, name))


def test_a_teachers_folder_joins_the_shelf_and_its_faults_do_not_hide_the_rest(tmp_path, monkeypatch):
    written(tmp_path, GOOD, "1-mine.toml")
    written(tmp_path, GOOD.replace('"T"', '"My own"'), "sparse.toml")  # in the place of a shipped one
    written(tmp_path, "no lesson", "broken.toml")
    monkeypatch.setenv(reading.SETTING, str(tmp_path))
    found, faults = reading.shelf()
    assert found["mine"].title == "T" and found["sparse"].title == "My own" and len(found) >= 8
    assert len(faults) == 1 and faults[0].startswith("broken.toml: ")
    monkeypatch.setenv(reading.SETTING, str(tmp_path / "nowhere"))
    found, faults = reading.shelf()
    assert len(found) >= 7 and "is no folder" in faults[0]


FACTS = {"a.x": lambda: 1.5, "b.x": lambda: 0.25, "c.word": lambda: "holds"}


def test_figures_stand_in_the_text():
    assert filled("{a.x} {a.x:.2f} {b.x:.0%} {b.x-percent} {c.word} {not a fact}", FACTS) == (
        "1.5 1.50 25% 25 holds {not a fact}"
    )
    with pytest.raises(MissingFactError):
        filled("{d.x}", FACTS)
    with pytest.raises(MissingFactError):
        fact(FACTS, "c.word-percent")


@pytest.mark.parametrize(
    ("when", "right"),
    [
        ("a.x > b.x", True),
        ("a.x < b.x", False),
        ("a.x >= 1.5", True),
        ("a.x == 1.5", True),
        ("a.x != 1.5", False),
        ("c.word == 'holds'", True),
        ("c.word != 'holds'", False),
        ("a.x > b.x and b.x > 1", False),
        ("a.x > b.x and b.x > 0 and c.word == 'holds'", True),
    ],
)
def test_conditions(when, right):
    assert Option("", when).right(FACTS) is right


@pytest.mark.parametrize(("given", "right"), [("1.5", True), ("1.59", True), ("1.7", False), ("nan", False)])
def test_a_number_is_right_within_its_tolerance(given, right):
    question = Question("", "number", "", answer="a.x", tolerance=0.1)
    assert question.is_right(given, FACTS) is right


@pytest.mark.parametrize("given", ["x", "9", "-1", ""])
def test_an_answer_that_is_none_is_refused(given):
    question = Question("", "choice", "", (Option("", "a.x > 0"), Option("", "a.x < 0")))
    with pytest.raises(ValueError):
        question.is_right(given, FACTS)


def test_facts_of_a_map_are_torchs():
    x = torch.relu(torch.randn(9, 9, generator=torch.Generator().manual_seed(0)))
    setting = Setting(("max", "average", "stochastic", "none"), kernel_size=3, stride=2, padding=1)
    facts = map_facts(compare(x, setting, "t"), setting, (0, 3))
    window = x[0:2, 5:8]  # row -1 is padding
    assert fact(facts, "window.cells") == 6 and fact(facts, "window.sum") == pytest.approx(float(window.sum()))
    assert fact(facts, "window.zeros") == pytest.approx(float((window == 0).float().mean()))
    pooled = F.max_pool2d(x[None, None], 3, 2, 1)[0, 0]
    mean = F.avg_pool2d(x[None, None], 3, 2, 1, count_include_pad=False)[0, 0]
    assert fact(facts, "max.output") == float(pooled[0, 3]) and fact(facts, "max.largest") == float(pooled.max())
    assert fact(facts, "average.output") == pytest.approx(float(mean[0, 3]))
    assert fact(facts, "stochastic.chance") == pytest.approx(float(window.max() / window.sum()))
    assert fact(facts, "stochastic.heard") == int((window > 0).sum())
    assert fact(facts, "apart.share") == pytest.approx(float((pooled - mean)[0, 3] / (pooled - mean).max()), rel=1e-5)
    moved = torch.cat([x[:, :1], x[:, :-1]], 1)
    after = F.max_pool2d(moved[None, None], 3, 2, 1)[0, 0]
    assert fact(facts, "max.shift") == pytest.approx(float((after - pooled).norm() / pooled.norm()), rel=1e-5)
    _, winners = F.max_pool2d(x[None, None], 3, 2, 1, return_indices=True)
    assert fact(facts, "max.discarded") == pytest.approx(1 - len(winners.unique()) / 81)
