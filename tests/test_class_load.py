"""The load test: real sessions on real servers, what they count as an error, and how the limits judge."""

import asyncio
import importlib.util
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from streamlit.proto.NumberInput_pb2 import NumberInput
from streamlit.proto.Selectbox_pb2 import Selectbox
from streamlit.proto.Slider_pb2 import Slider
from streamlit.proto.WidgetStates_pb2 import WidgetState

from tests.benchmarks._visitor import LostError, Visitor, Widget, moves, shown
from tests.server import Server

SCRIPT = Path(__file__).resolve().parent / "benchmarks" / "class.py"
QUICK = (0.05, 0.1)  # seconds between a change and the next
# a page of everything that a visitor has to understand; it writes down what it was asked
PAGE = """
import time
from pathlib import Path

import streamlit as st

HEARD = Path(__file__).with_name("heard.txt")


def heard(text):
    with HEARD.open("a") as file:
        file.write(text + "\\n")


task = st.query_params.get("task", "")
if task == "raise" or (task == "sometimes" and st.session_state.get("moved")):
    raise KeyError("a page that raises")
if task == "hang" and st.session_state.get("moved"):
    time.sleep(60)
st.session_state["moved"] = True
time.sleep(0.4 if task == "slow" else 0.0)
if task == "alone":
    st.stop()
if task == "choose":
    heard(f"chosen {st.selectbox('Choose', ['one', 'two', 'three'])}")
elif task == "press":
    if st.button("Press"):
        heard("pressed")
    st.slider("Form", 0, 9, disabled=True)
elif task == "tick":
    st.fragment(lambda: heard("tick"), run_every=0.2)()
elif task == "told":
    st.session_state.setdefault("level", 7)
    if st.session_state["level"] > 7:
        st.session_state["level"] = 7
    heard(f"level {st.slider('Level', 7, 9, key='level')}")
else:
    heard(f"page {st.slider('Outside', 0, 100, 50)}")
if not task:
    st.fragment(lambda: heard(f"fragment {st.select_slider('Inside', ['a', 'b', 'c'])}"))()
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("class_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Small:
    """The small page on a server of its own."""

    def __init__(self, folder):
        self.path = folder / "page.py"
        self.path.write_text(PAGE)
        self.server = Server(folder / "app.log", self.path, STREAMLIT_CLIENT_SHOW_ERROR_DETAILS="full")
        self.url = self.server.wait().url

    def heard(self):
        """What the page has written down since the last time."""
        file = self.path.with_name("heard.txt")
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    started = Small(tmp_path_factory.mktemp("small"))
    yield started
    started.server.stop()


def aside(function, argument):
    """Call it in a thread of its own: when browser tests came before, Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, argument).result()


def visit(url, task, doing, patience=20.0):
    """Open the small page for a task and let `doing(visitor)` happen; the visitor."""

    async def whole():
        visitor = Visitor(url, query=f"task={task}", patience=patience)
        try:
            await visitor.open()
            await doing(visitor)
        finally:
            await visitor.close()
        return visitor

    return aside(asyncio.run, whole())


async def nothing(visitor):
    pass


# ---- what a visitor does ----


def test_every_move_reaches_the_script_and_a_fragment_runs_alone(small):
    small.heard()
    moved = []

    async def doing(visitor):
        for _ in range(12):
            moved.append(await visitor.move())

    visitor = visit(small.url, "", doing)
    assert visitor.errors == [] and set(moved) == {"Outside", "Inside"}
    first, *later = small.heard()[1:]
    assert first == "fragment a"
    values = {"page": "50", "fragment": "a"}
    for label in moved:
        ran = ["page", "fragment"] if label == "Outside" else ["fragment"]
        for kind in ran:
            heard, value = later.pop(0).split()
            assert heard == kind
            assert (value != values[kind]) == (kind == ran[0])  # what was moved, and nothing else
            values[kind] = value
    assert later == []


def test_all_options_are_looked_through_and_the_first_is_back(small):
    small.heard()
    visit(small.url, "choose", lambda visitor: visitor.look_through())
    assert small.heard() == [f"chosen {name}" for name in ("one", "two", "three", "one")]


def test_a_button_is_pressed_once(small):
    small.heard()

    async def doing(visitor):
        await visitor.press("Press")
        with pytest.raises(LostError, match="there is no button 'Another'"):
            await visitor.press("Another")
        with pytest.raises(LostError, match="nothing on the page can be moved"):
            await visitor.move()

    visit(small.url, "press", doing)
    assert small.heard() == ["pressed"]


def test_a_fragment_that_reruns_by_itself_is_asked_for(small):
    small.heard()

    async def doing(visitor):
        await visitor.rest(asyncio.get_running_loop().time() + 1.1)

    visit(small.url, "tick", doing)
    assert 4 <= len(small.heard()) <= 6  # with the page, then at 0.2, 0.4, 0.6, 0.8 and 1.0 s


def test_a_value_that_the_server_sets_is_taken_over(small):
    small.heard()

    async def doing(visitor):
        for _ in range(2):
            await visitor.move()
        assert {state.double_array_value.data[0] for state in visitor._states.values()} == {7.0}

    visit(small.url, "told", doing)
    assert small.heard() == ["level 7"] * 3


# ---- where a widget can be moved to ----


def value(state):
    held = getattr(state, state.WhichOneof("value"))
    return list(held.data) if hasattr(held, "data") else held


def slider(**changes):
    known = {"id": "it", "type": Slider.SLIDER, "min": 0, "max": 1, "step": 0.25, "default": [0.5]}
    return Widget("slider", Slider(**known | changes), "")


def choices(**changes):
    known = {"id": "it", "type": Slider.SELECT_SLIDER, "options": ["a", "b", "c"], "default": [1]}
    return Widget("slider", Slider(**known | changes), "")


def box(**changes):
    return Widget("selectbox", Selectbox(**{"id": "it", "options": ["a", "b"], "default": 1} | changes), "")


def number(**changes):
    known = {"id": "it", "default": 3, "step": 1, "has_min": True, "min": 1, "has_max": True, "max": 8}
    return Widget("number_input", NumberInput(**known | changes), "")


@pytest.mark.parametrize(
    ("widget", "now", "then"),
    [
        (slider(), [0.5], [[0], [0.25], [0.75], [1]]),
        (slider(set_value=True, value=[0]), [0], [[0.25], [0.5], [0.75], [1]]),
        (slider(disabled=True), [0.5], []),
        (slider(form_id="a form"), [0.5], []),
        (slider(default=[0.25, 0.5]), None, []),
        (choices(), ["b"], [["a"], ["c"]]),
        (choices(set_value=True, raw_value=["c"]), ["c"], [["a"], ["b"]]),
        (box(), "b", ["a"]),
        (box(set_value=True, raw_value="a"), "a", ["b"]),
        (box(options=["a"], default=0), "a", []),
        (number(), 3, [2, 4]),
        (number(default=1), 1, [2]),
        (number(default=8), 8, [7]),
        (number(set_value=True, value=5), 5, [4, 6]),
        (number(default=0, has_min=False, has_max=False), 0, [-1, 1]),
    ],
)
def test_where_a_widget_stands_and_where_it_can_go(widget, now, then):
    held = shown(widget)
    assert (held and value(held)) == now
    assert [value(state) for state in moves(widget, held)] == then


def test_a_box_without_a_choice_can_get_any():
    empty = Widget("selectbox", Selectbox(id="it", options=["a", "b"]), "")
    assert shown(empty) is None
    assert moves(empty, None) == [WidgetState(id="it", string_value=each) for each in "ab"]


# ---- what is counted ----


def lesson(script, url, *tasks, clients=3, seconds=1.5, **more):
    pages = {task or "page": script.Page("", lambda number, task=task: {"task": task}) for task in tasks}
    return aside(asyncio.run, script.hold(url, pages, clients, seconds, think=QUICK, **more))


def test_a_class_is_measured(script, small, capsys):
    measured = lesson(script, small.url, "", clients=3)
    assert [len(student.changes) >= 5 for student in measured.students] == [True] * 3
    assert [student.errors for student in measured.students] == [[]] * 3
    assert script.report_changes(measured) == [True]
    assert script.report_load(measured) == []
    told = capsys.readouterr().out
    assert "memory: not measured" in told and "2 opened at once" in told and "slowest: page, " in told


def test_a_slow_page_is_counted_from_the_change_to_its_end(script, small, capsys):
    measured = lesson(script, small.url, "slow", "", clients=4, seconds=2.5)
    slow, quick = (
        [seconds for student in measured.students if student.page == page for _, seconds in student.changes]
        for page in ("slow", "page")
    )
    assert len(slow) >= 4 and min(slow) >= 0.4 and np.median(quick) < 0.2
    assert script.report_changes(measured)[0] is False
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["raise", "sometimes"])
def test_a_page_that_raises_is_an_error_by_name(script, small, capsys, task):
    measured = lesson(script, small.url, "", task, clients=4)
    failed = [student for student in measured.students if student.page == task]
    assert all(student.errors[0] == "KeyError: 'a page that raises'" for student in failed)
    assert script.report_changes(measured) == [True, False, False]
    assert f"{task}: KeyError: 'a page that raises'" in capsys.readouterr().out


def test_a_page_that_hangs_is_an_error(small):
    with pytest.raises(LostError, match="no answer within 1 s"):
        visit(small.url, "hang", lambda visitor: visitor.move(), patience=1.0)


def test_a_page_with_nothing_to_move_is_an_error(script, small, capsys):
    measured = lesson(script, small.url, "alone", clients=2, seconds=0.5)
    assert [student.errors for student in measured.students] == [["nothing on the page can be moved"]] * 2
    assert script.report_changes(measured) == [False]
    assert "alone" in capsys.readouterr().out


def test_a_server_that_dies_is_told_by_every_student(script, tmp_path):
    small = Small(tmp_path)

    async def whole():
        going = asyncio.create_task(
            script.hold(small.url, {"page": script.Page("", lambda number: {})}, 3, 20.0, think=QUICK)
        )
        await asyncio.sleep(2)
        small.server.process.send_signal(signal.SIGKILL)
        return await going

    measured = aside(asyncio.run, whole())
    small.server.process.wait(20)
    assert all(student.lost.startswith("disconnected: ") for student in measured.students)
    assert all(student.changes for student in measured.students)  # from before


def test_where_nothing_answers_it_says_so(script, tmp_path, capsys):
    assert aside(script.main, ["--url", "http://127.0.0.1:9", "--clients", "3", "--seconds", "6"]) == 1
    assert "poolviz bench class: cannot connect" in capsys.readouterr().err


def test_an_app_that_does_not_start_is_one_sentence(script, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(script, "Server", lambda log, **environment: Server(log, tmp_path / "none.py", **environment))
    assert aside(script.main, ["--clients", "3", "--seconds", "6"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("poolviz bench class: the app did not start; its last line was: ") and "none.py" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("count", [1, 2, 20, 333])
def test_figures_equal_numpys(script, count):
    seconds = [random.Random(count).uniform(0.01, 2) for _ in range(count)]
    times = 1000 * np.array(seconds)
    expected = (count, np.median(times), np.percentile(times, 95), times.max())
    assert script.figures(seconds) == pytest.approx(expected)


def test_nothing_measured_has_no_figures(script):
    assert script.figures([]) is None


# ---- the verdicts ----


def student(script, seconds, page="page", errors=()):
    found = script.Student(page, Visitor("http://nowhere"), changes=[("it", each) for each in seconds])
    found.visitor.errors.extend(errors)
    return found


@pytest.mark.parametrize(
    ("seconds", "errors", "kept"),
    [([0.3] * 20, [], True), ([0.301] * 20, [], False), ([0.1] * 20, ["KeyError: 1"], False), ([], [], False)],
)
def test_a_page_is_judged_by_its_slowest_and_by_its_errors(script, seconds, errors, kept):
    told, verdict = script.line("page", [student(script, seconds, errors=errors)])
    assert verdict is kept and ("MISSED" in told) is not kept


def test_memory_is_what_sessions_add_at_the_most(script, capsys):
    sizes = {"before": 50, "shared": 600, "opened": 640, "at the end": 620}
    loads = [(moment, script.Load(int(1e6 * size), 0, 0.0)) for moment, size in sizes.items()]
    measured = script.Lesson([student(script, [0.1]) for _ in range(6)], ["one", "two"], loads)
    assert measured.session_memory == 10e6
    assert script.report_load(measured) == [True]
    loads[2] = ("opened", script.Load(int(661e6), 0, 0.0))
    assert script.report_load(measured) == [False]
    assert capsys.readouterr().out.count("MISSED") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pages", "feature-map"], "unknown page 'feature-map': choose of feature-maps, sentences, compare, train"),
        (["--clients", "2"], "--clients must be more than the 2 pages, got 2"),
        (["--seconds", "5"], "--seconds must be more than 5"),
        (["--seconds", "nan"], "--seconds must be more than 5"),
        (["--url", "http://127.0.0.1:1", "--training"], "omit --url"),
        (["--url", "127.0.0.1:8501"], "--url must begin with http:// or https://"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(script, capsys, arguments, told):
    with pytest.raises(SystemExit) as end:
        script.main(arguments)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("python -m poolviz bench class: error: ") and told in last


# ---- on the app itself ----


def test_an_app_that_has_ended_is_one_sentence(script):
    with script.own_server() as own:
        own.wait()
        own.end()
        with pytest.raises(script.LostError, match="the app has ended; its last line was: "):
            own.load()


def test_a_small_class_on_the_app_while_it_trains(script, capsys):
    """Its times are those of a busy machine: that it is measured and that nothing fails is what counts here."""
    before = set(psutil.Process().children(recursive=True))
    pages = {name: script.PAGES[name] for name in ("feature-maps", "sentences")}
    with script.own_server() as own:
        url = own.wait()
        training = script.Training(url, own.runs)
        beside = {"load": own.load, "training": training}
        measured = aside(asyncio.run, script.hold(url, pages, 4, 6.0, think=(0.5, 1.0), **beside))
        helpers = set(psutil.Process().children(recursive=True)) - before
    assert [student.errors for student in measured.students] == [[]] * 4
    assert all(student.changes for student in measured.students)
    sizes = [load.own for _, load in measured.loads]
    assert len(sizes) == 4 and sizes[0] < sizes[1]  # torch came with the first sessions
    assert measured.session_memory is not None
    assert training.steps > 0 and training.fault == ""
    assert helpers and not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in helpers)
    script.report(measured, training)
    assert f"training beside it: {training.steps:,} steps  ok" in capsys.readouterr().out


def test_the_addresses_mean_something_to_their_pages(script):
    """A page that cannot use a part of its address says so; these are used whole."""
    from poolviz.pages import compare_parameters, parameters, sentence_parameters, train_parameters

    known = {
        "feature-maps": parameters.PARAMS,
        "sentences": sentence_parameters.PARAMS,
        "compare": compare_parameters.PARAMS,
        "train": train_parameters.PARAMS,
    }
    for name, page in script.PAGES.items():
        params = {key.rpartition(".")[2]: param for key, param in known[name].items()}
        for address in [*(page.address(number) for number in range(40)), *([script.LESSON] if name == "train" else [])]:
            for key, value in address.items():
                params[key].parse(str(value))
        assert len({str(page.address(number)) for number in range(10)}) == 10
