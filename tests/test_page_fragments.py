"""Numbers that are moved in a fragment of a page, over Streamlit's protocol: AppTest runs whole pages only."""

import asyncio
from urllib.parse import urlencode

import pytest

from poolviz.pages.parameters import INPUTS
from tests.benchmarks._visitor import Visitor, as_state, shown
from tests.server import Server


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    server = Server(folder / "log", POOLVIZ_RUNS=str(folder / "runs"), POOLVIZ_DATA=str(folder / "no data"))
    yield server.wait().url
    server.stop()


class Tab(Visitor):
    """A visitor who names what he changes."""

    def __init__(self, url: str, page: str, **query: object) -> None:
        super().__init__(url, page, urlencode(query))

    def widget(self, label: str):
        (found,) = [each for each in self.widgets.values() if each.proto.label == label]
        return found

    async def put(self, label: str, value: str | float) -> None:
        widget = self.widget(label)
        await self._set(widget.proto.id, as_state(widget, value))

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
    assert asyncio.run(shifts(url)) == [(7, 7), (2, 3), (2, 7), (3, 3), (3, 7)]
