"""Parts of a page that run alone, over Streamlit's protocol: AppTest runs whole pages only."""

import asyncio
import json
from urllib.parse import parse_qs, urlencode

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState

from poolviz.pages.parameters import INPUTS, LENSES
from tests.benchmarks._visitor import Visitor, as_state, shown
from tests.server import Server
from tests.test_class_load import aside


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    server = Server(folder / "log", POOLVIZ_RUNS=str(folder / "runs"), POOLVIZ_DATA=str(folder / "no data"))
    yield server.wait().url
    server.stop()


class Tab(Visitor):
    """A visitor who names what he changes, and looks at the stage."""

    def __init__(self, url: str, page: str, **query: object) -> None:
        super().__init__(url, page, urlencode(query))
        self.stage: dict = {}  # as the browser draws it
        self.alone = False  # whether the last run left the rest of the page as it was
        self.lenses = "", ""  # widget and fragment of their control

    def _take(self, message) -> bool:
        if message.WhichOneof("type") == "new_session":
            self.alone = bool(message.metadata.run.fragment_ids)
        element = message.delta.new_element
        if element.button_group.label == "Look at":
            self.lenses = element.button_group.id, message.delta.fragment_id
        component = element.bidi_component
        if component.component_name == "poolviz_stage":
            self.stage = json.loads(component.json)
        return super()._take(message)

    def widget(self, label: str):
        (found,) = [each for each in self.widgets.values() if each.proto.label == label]
        return found

    async def put(self, label: str, value: str | float) -> None:
        widget = self.widget(label)
        await self._set(widget.proto.id, as_state(widget, value))

    async def look(self, lens: str) -> None:
        name, fragment = self.lenses
        state = WidgetState(id=name)
        state.string_array_value.data.append(LENSES[lens])
        self._states[name] = state
        await self._run(fragment)

    async def put_at_once(self, **values: str | float) -> None:
        """Several in one request, as a browser sends what changed while the server was busy."""
        for label, value in values.items():
            widget = self.widget(label)
            self._states[widget.proto.id] = as_state(widget, value)
        await self._run()

    def slider(self, label: str) -> tuple[float, float]:
        """Where its handle stands, and its end."""
        widget = self.widget(label)
        return shown(widget).double_array_value.data[0], widget.proto.max


def healthy(tab: Tab) -> None:
    assert not tab.errors


async def shifts(url: str) -> list[tuple[float, float]]:
    label, seen = "Move the input by up to (cells)", []
    tab = Tab(url, "", lens="invariance", shift=7)
    await tab.open()
    seen.append(tab.slider(label))
    for shift in (2, 6):
        await tab.put(label, shift)
        assert tab.widget(label).fragment
        await tab.put("Input", INPUTS["grid"])
        healthy(tab)
        seen.append(tab.slider(label))
        await tab.put("Input", INPUTS["digit"])
        seen.append(tab.slider(label))
    await tab.close()
    healthy(tab)
    return seen


def test_a_shift_outlives_a_map_of_another_width(url):
    # a digit has eight columns, the grid four: what is there stays where it can
    assert aside(asyncio.run, shifts(url)) == [(7, 7), (2, 3), (2, 7), (3, 3), (3, 7)]


# ---- the stage without the sidebar

TEMPERATURE = "Temperature (max-like → average-like)"


async def opened(url: str, **query: object) -> Tab:
    tab = Tab(url, "", **query)
    await tab.open()
    healthy(tab)
    return tab


async def as_opened(url: str, tab: Tab) -> None:
    """The stage is what somebody sees who opens the address that the tab has now."""
    fresh = await opened(url, **{name: values[0] for name, values in parse_qs(tab.query).items()})
    assert tab.stage == fresh.stage and tab.stage["outputs"]
    await fresh.close()


async def alone(url: str, changes: list[tuple[str, str | float]], **query: object) -> None:
    tab = await opened(url, **query)
    for label, value in changes:
        before, sidebar = tab.stage, len(tab.widgets)
        await tab.put(label, value)
        healthy(tab)
        assert tab.alone and tab.stage != before and len(tab.widgets) == sidebar, label
        await as_opened(url, tab)
    await tab.look("overlap")
    assert tab.alone and any(panel["title"] for panel in tab.stage["panels"])
    await as_opened(url, tab)
    await tab.put("Input", INPUTS["photo"])  # the whole page runs with what was changed before
    assert not tab.alone
    await as_opened(url, tab)
    await tab.close()


@pytest.mark.parametrize(
    ("operators", "changes"),
    [
        (
            "average,softpool,mixed,lp",
            [(TEMPERATURE, "10"), ("Mix (average → max)", "0.9"), ("Exponent p of Lp", 5)],
        ),
        ("max,stochastic", [("Kernel size", 3), ("Stride", 3), ("Dilation", 2), ("Seed", 7)]),
    ],
)
def test_what_changes_the_stage_alone_runs_it_alone(url, operators, changes):
    aside(asyncio.run, alone(url, changes, operators=operators, mode="train"))


async def together(url: str) -> None:
    tab = await opened(url)
    await tab.put_at_once(**{"Input": INPUTS["photo"], "Kernel size": 3})
    healthy(tab)
    assert not tab.alone and tab.stage["input"]["width"] == 56
    await as_opened(url, tab)
    await tab.put("Input", INPUTS["grid"])  # whose numbers the page learns while it runs
    await tab.put("Kernel size", 1)
    assert not tab.alone and tab.stage["input"]["width"] == 4
    await as_opened(url, tab)
    await tab.close()


def test_a_map_that_changes_with_a_number_is_not_missed(url):
    aside(asyncio.run, together(url))


async def lesson(url: str) -> None:
    tab = await opened(url, lesson="temperature", step=4)
    await tab.put(TEMPERATURE, "10")
    assert not tab.alone
    await tab.close()
    tab = await opened(url, lesson="pooling", step=1)
    await tab.put("Kernel size", 3)
    assert not tab.alone
    await tab.look("overlap")
    assert not tab.alone and not tab.lenses[1]
    healthy(tab)
    await tab.close()


def test_in_a_lesson_the_whole_page_runs_so_that_its_figures_follow(url):
    aside(asyncio.run, lesson(url))
