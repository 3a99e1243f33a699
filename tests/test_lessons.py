"""Every lesson is gone through on the real pages: its figures are there, and exactly one prediction is right."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from streamlit.testing.v1 import AppTest

from poolviz.inputs import features, images
from poolviz.lessons import reading
from poolviz.lessons.lesson import PLACE
from poolviz.pages.show import plain

ROOT = Path(__file__).parent.parent
LESSONS, FAULTS = reading.shelf()
STEPS = [(name, number) for name, lesson in LESSONS.items() for number in range(1, len(lesson.steps) + 1)]
ASKING = [(name, n) for name, n in STEPS if LESSONS[name].steps[n - 1].question and (name, n) != ("overfitting", 1)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The app at a step, by the short link that a teacher would write."""
    patch = pytest.MonkeyPatch()
    patch.setenv("POOLVIZ_RUNS", str(tmp_path_factory.mktemp("runs")))

    def open_at(name, step, answer=None):
        app = AppTest.from_file(ROOT / "streamlit_app.py", default_timeout=120)
        app.query_params["lesson"], app.query_params["step"] = name, str(step)
        if answer is not None:
            app.query_params["answers"] = f"{step}:{answer}"
        return app.run()

    yield open_at
    patch.undo()


def button(app, label):
    (found,) = (each for each in app.button if each.label == label)
    return found


def text_of(app):
    return "\n".join(each.value for each in (*app.markdown, *app.success, *app.info))


def test_seven_lessons_at_least_and_nothing_is_wrong_with_a_file():
    assert len(LESSONS) >= 7 and FAULTS == []


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_step_shows_its_page_and_its_figures(opened, name, step):
    app = opened(name, step)
    lesson = LESSONS[name].steps[step - 1]
    assert not app.exception and not app.error and not app.warning
    assert any(plain(lesson.title) in each.value for each in app.markdown)
    assert "…" not in "".join(each.value for each in app.markdown if plain(lesson.title) in each.value)
    assert not PLACE.search(text_of(app))


@pytest.mark.parametrize(("name", "step"), ASKING)
def test_one_prediction_is_right_and_the_others_are_not(opened, name, step):
    question = LESSONS[name].steps[step - 1].question
    if question.kind == "choice":
        verdicts = []
        for number in range(len(question.options)):
            app = opened(name, step, number)
            assert len(app.success) + len(app.info) == 1
            verdicts.append(bool(app.success))
        assert verdicts.count(True) == 1
        return
    if question.kind == "number":
        app = opened(name, step, "-12345")
        assert app.info and not app.success
        assert not PLACE.search(app.info[0].value) and question.reveal.strip()[:4] != ""


def test_the_answers_are_torchs(opened):
    """The sparse lesson's windows, by torch's own layers."""
    grid = torch.tensor([[0, 0, 0, 0], [0, 8.0, 0, 0], [0, 0, 4, 4], [0, 0, 4, 4]])[None, None]
    average = F.avg_pool2d(grid, 2)[0, 0, 0, 0].item()
    assert opened("sparse", 2, f"{average:g}").success
    assert opened("sparse", 2, f"{average + 0.1:g}").info


def test_going_back_to_a_short_link_shows_the_steps_own_view(opened):
    """The short link is the browser's first entry: its window of 8, 0, 0, 0 is asked about, not the default picture."""
    app = opened("sparse", 2)
    assert "Max keeps 8." in text_of(app)
    for name in list(app.query_params):
        if name not in ("lesson", "step"):
            del app.query_params[name]
    app.run()
    assert not app.exception and app.session_state["input"] == "grid"
    assert "Max keeps 8." in text_of(app)


@pytest.mark.parametrize("cell", ["28-0", "0-28", "99-99"])
def test_a_cell_that_the_output_has_not_is_no_answer(opened, cell):
    app = opened("sparse", 4, cell)
    assert not app.exception and not app.success and not app.info
    assert "This link holds an answer that is none. Predict anew." in [each.value for each in app.warning]


def test_the_cell_that_was_chosen_is_right_where_torch_says_so_and_is_the_one_that_is_told(opened):
    """Screen, reveal and handout tell of one cell: the best and the worst one of torch's own layers."""
    plane = features.edge_map(images.photograph("flower", 56)).values[:1, None]
    apart = (F.max_pool2d(plane, 2) - F.avg_pool2d(plane, 2)).abs()[0, 0]
    for place, right in ((int(apart.argmax()), True), (int(apart.argmin()), False)):
        row, column = divmod(place, apart.shape[1])
        app = opened("sparse", 4, f"{row}-{column}")
        assert not app.exception and bool(app.success) == right and bool(app.info) != right
        assert app.session_state["cell"] == (row, column)
        share = f"they are {float(apart[row, column] / apart.max()):.0%} as far apart"
        assert share in text_of(app)
        assert share in app.session_state["lesson_told"]["sparse", 4].reveal  # of which the handout is made
