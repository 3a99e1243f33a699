"""A browser's tab as the server sees it: Streamlit's protocol over a WebSocket.

A tab keeps the states of its widgets and sends them all with each request, which asks for a run of the script or of
one fragment. The server answers with the messages of that run; the last tells how it ended. A fragment with
`run_every` is asked for by the tab itself. Nothing is drawn, and media files are not fetched. Knows nothing of
poolviz.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Slider_pb2 import Slider
from streamlit.proto.WidgetStates_pb2 import WidgetState

MOVED = ("slider", "selectbox", "number_input")  # what a visitor moves; a select slider is a slider, too
LONGEST_TOLD = 200  # characters of an error


class LostError(Exception):
    """A session that cannot go on; says why."""


class Widget(NamedTuple):
    """A slider, a select box or a number field on the page."""

    kind: str  # one of MOVED
    proto: Any  # as the server described it
    fragment: str  # id of the fragment that it stands in; empty: none


def as_state(widget: Widget, value: str | float) -> WidgetState:
    """What the browser sends of a widget that holds `value`."""
    state = WidgetState(id=widget.proto.id)
    if widget.kind == "selectbox":
        state.string_value = value
    elif widget.kind == "number_input":
        state.double_value = value
    elif widget.proto.type == Slider.SELECT_SLIDER:
        state.string_array_value.data.append(value)
    else:
        state.double_array_value.data.append(value)
    return state


def stops(slider: Slider) -> list[str] | list[float]:
    """Everything that a slider with one handle can hold; nothing for one with two."""
    if len(slider.default) != 1:
        return []
    if slider.type == Slider.SELECT_SLIDER:
        return list(slider.options)
    count = round((slider.max - slider.min) / slider.step)
    return [slider.min + number * slider.step for number in range(count + 1)]


def shown(widget: Widget) -> WidgetState | None:
    """The state in which the server describes a widget; None where it holds nothing."""
    kind, proto = widget.kind, widget.proto
    if kind == "slider":
        if proto.type == Slider.SELECT_SLIDER:
            value = list(proto.raw_value) if proto.set_value else [proto.options[int(each)] for each in proto.default]
        else:
            value = list(proto.value if proto.set_value else proto.default)
        return as_state(widget, value[0]) if len(value) == 1 else None
    if proto.set_value:
        field = "raw_value" if kind == "selectbox" else "value"
        return as_state(widget, getattr(proto, field)) if proto.HasField(field) else None
    if not proto.HasField("default"):
        return None
    return as_state(widget, proto.options[proto.default] if kind == "selectbox" else proto.default)


def moves(widget: Widget, held: WidgetState | None) -> list[WidgetState]:
    """The states into which one move brings a widget that is in the state `held`: any other stop, a step up or down."""
    proto = widget.proto
    if proto.disabled or proto.form_id:  # a form's values are sent by its button
        return []
    if widget.kind == "slider":
        values: Sequence[str | float] = stops(proto)
    elif widget.kind == "selectbox":
        values = proto.options
    else:
        number, step = held.double_value if held else proto.min, proto.step or 1.0
        near = (number - step, number + step)
        values = [
            each
            for each in near
            if not (proto.has_min and each < proto.min) and not (proto.has_max and each > proto.max)
        ]
    return [state for state in (as_state(widget, value) for value in values) if state != held]


class Visitor:
    """A tab that is open on one page of an app: one request at a time, each waited for until its run has ended.

    Args:
        url: Where the app is, with its base path, without a page.
        page: The page's path; empty for the first.
        query: The page's address after the question mark.
        seed: Of its choices.
        patience: Seconds that it waits for the end of a run.

    Attributes:
        errors: What the app showed as an exception, a sentence each.
    """

    def __init__(self, url: str, page: str = "", query: str = "", seed: int = 0, patience: float = 60.0) -> None:
        self.url, self.page, self.query, self.patience = url.rstrip("/"), page, query, patience
        self.chance = random.Random(seed)
        self.errors: list[str] = []
        self.widgets: dict[str, Widget] = {}
        self._states: dict[str, WidgetState] = {}
        self._buttons: dict[str, tuple[str, str]] = {}  # label -> id, fragment
        self._timers: dict[str, tuple[float, float]] = {}  # fragment -> seconds between its runs, time of the next
        self._known: tuple[dict, dict, dict] = {}, {}, {}  # these three, as they were before the run
        self._page_hash = ""
        self._socket: websockets.ClientConnection | None = None

    async def open(self) -> None:
        """Connect and wait for the page; LostError where that fails."""
        parts = urlsplit(self.url)
        address = parts._replace(scheme={"https": "wss"}.get(parts.scheme, "ws")).geturl() + "/_stcore/stream"
        try:
            self._socket = await websockets.connect(
                address,
                subprotocols=["streamlit"],
                compression=None,  # which a Streamlit server does not use either
                max_size=None,
                open_timeout=self.patience,
                ping_interval=None,  # a browser sends none
                proxy=None,
            )
        except (OSError, websockets.WebSocketException) as error:
            raise LostError(f"cannot connect: {error}") from None
        await self._run()

    async def close(self) -> None:
        """Leave, as a tab that is closed."""
        if self._socket is not None:
            await self._socket.close()

    async def move(self) -> str:
        """Move a widget by chance and wait for the end of the run; the widget's label.

        LostError where there is nothing to move, and where the server does not answer.
        """
        choices = {name: moves(widget, self._states.get(name)) for name, widget in self.widgets.items()}
        movable = [name for name, states in choices.items() if states]
        if not movable:
            raise LostError("nothing on the page can be moved")
        name = self.chance.choice(movable)
        label = self.widgets[name].proto.label
        await self._set(name, self.chance.choice(choices[name]))
        return label

    async def look_through(self) -> None:
        """Choose each option of each select box that is on the page, one after another."""
        for name in [name for name, widget in self.widgets.items() if widget.kind == "selectbox"]:
            before = self._states.get(name)
            for state in moves(self.widgets[name], before):
                if name in self.widgets:
                    await self._set(name, state)
            if name in self.widgets and before is not None:
                await self._set(name, before)

    async def press(self, label: str) -> None:
        """Press the button `label` and wait for the end of the run; LostError where there is none."""
        if label not in self._buttons:
            raise LostError(f"there is no button {label!r}")
        name, fragment = self._buttons[label]
        await self._run(fragment, WidgetState(id=name, trigger_value=True))

    async def rest(self, until: float) -> None:
        """Do what the tab does by itself until a time of the event loop's clock: run fragments that are due."""
        clock = asyncio.get_running_loop().time
        while due := [(at, fragment) for fragment, (_, at) in self._timers.items() if at < until]:
            at, fragment = min(due)
            await asyncio.sleep(at - clock())
            every, _ = self._timers[fragment]
            self._timers[fragment] = every, max(at, clock()) + every
            await self._run(fragment, auto=True)
        await asyncio.sleep(until - clock())

    async def _set(self, name: str, state: WidgetState) -> None:
        self._states[name] = state
        await self._run(self.widgets[name].fragment)

    async def _run(self, fragment: str = "", pressed: WidgetState | None = None, auto: bool = False) -> None:
        """Ask for a run and wait for its end; those that it asks for itself (`st.rerun`) are part of it."""
        try:
            async with asyncio.timeout(self.patience):
                await self._socket.send(self._request(fragment, pressed, auto))
                while not self._take(ForwardMsg.FromString(await self._socket.recv())):
                    pass
        except TimeoutError:
            raise LostError(f"no answer within {self.patience:g} s") from None
        except websockets.ConnectionClosed as error:
            raise LostError(f"disconnected: {error}") from None

    def _request(self, fragment: str, pressed: WidgetState | None, auto: bool) -> bytes:
        message = BackMsg()
        run = message.rerun_script
        run.query_string, run.fragment_id, run.is_auto_rerun = self.query, fragment, auto
        if self._page_hash:
            run.page_script_hash = self._page_hash
        else:
            run.page_name = self.page
        context = run.context_info
        context.timezone, context.locale, context.url = "UTC", "en-GB", f"{self.url}/{self.page}"
        run.widget_states.SetInParent()
        run.widget_states.widgets.extend([*self._states.values(), *([pressed] if pressed else [])])
        return message.SerializeToString()

    def _take(self, message: ForwardMsg) -> bool:
        """Learn from a message; whether the run has ended."""
        match message.WhichOneof("type"):
            case "new_session":
                self._page_hash = message.new_session.page_script_hash
                self._known = self.widgets, self._buttons, self._timers
                self._clear(message.metadata.run.fragment_ids)
            case "navigation":
                self._page_hash = message.navigation.page_script_hash
            case "page_info_changed":
                self.query = message.page_info_changed.query_string
            case "page_not_found":
                self.errors.append(f"there is no page {self.page!r}")
            case "auto_rerun":
                every = message.auto_rerun.interval
                now = asyncio.get_running_loop().time()
                self._timers[message.auto_rerun.fragment_id] = every, now + every
            case "stop_auto_rerun":
                self._clear(message.stop_auto_rerun.fragment_ids)  # of every fragment that is gone
                for fragment in message.stop_auto_rerun.fragment_ids:
                    self._timers.pop(fragment, None)
            case "delta" if message.delta.WhichOneof("type") == "new_element":
                self._place(message.delta)
            case "script_finished":
                return self._finish(message.script_finished)
        return False

    def _clear(self, fragments: Sequence[str]) -> None:
        """Forget what is gone or will be described anew: of these fragments, or of the whole page."""
        if not fragments:
            self.widgets, self._buttons, self._timers = {}, {}, {}
            return
        self.widgets = {name: each for name, each in self.widgets.items() if each.fragment not in fragments}
        self._buttons = {label: each for label, each in self._buttons.items() if each[1] not in fragments}

    def _place(self, delta: Delta) -> None:
        """Take over a new element that a person would move, press or be shocked by."""
        element: Element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "exception":
            error = element.exception
            self.errors.append(f"{error.type or 'Exception'}: {error.message}"[:LONGEST_TOLD])
        elif kind == "button" and not element.button.disabled:
            self._buttons[element.button.label] = element.button.id, delta.fragment_id
        elif kind in MOVED:
            widget = Widget(kind, getattr(element, kind), delta.fragment_id)
            name = widget.proto.id
            self.widgets[name] = widget
            state = shown(widget)
            if state is not None and (name not in self._states or widget.proto.set_value):
                self._states[name] = state

    def _finish(self, status: int) -> bool:
        """Whether a run that ended so is the last of its request; a browser then forgets widgets that are gone."""
        if status == ForwardMsg.FINISHED_EARLY_FOR_RERUN:  # what it has not come to is still on the page
            widgets, buttons, timers = self._known
            self.widgets = {**widgets, **self.widgets}
            self._buttons, self._timers = {**buttons, **self._buttons}, {**timers, **self._timers}
        if status == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
            self.errors.append("the script does not compile")
        if status == ForwardMsg.FINISHED_SUCCESSFULLY:
            self._states = {name: state for name, state in self._states.items() if name in self.widgets}
        return status != ForwardMsg.FINISHED_EARLY_FOR_RERUN
