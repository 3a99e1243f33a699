"""Who may start what costs the server: rules as tables, the page without a browser, and a server that is lied to.

The servers here are real ones, spoken to in Streamlit's own protocol: what a browser is not offered is sent all the
same.
"""

import ast
import contextlib
import json
import os
import re
import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value, generate_xsrf_token_string
from websockets.sync.client import connect

from poolviz.pages import choose_sentences, guard, settings
from poolviz.runs import store
from tests.browser.conftest import Server
from tests.test_architecture import python_files
from tests.test_page_explorer import healthy, no_data
from tests.test_page_sentences import opened as sentences_opened
from tests.test_page_train import a_run, labels, opened, press, queue, shown, texts

__all__ = ["no_data", "queue"]  # fixtures; the queue is replaced in tests without a server

# fixtures of tests/conftest.py replace these
AT_THE_SERVER, SECTION = guard.at_the_server, settings._section
PASSPHRASE = "correct horse, battery"
LOCAL = {"Host": "localhost:8501", "Origin": "http://localhost:8501"}


def secrets(monkeypatch, **sections):
    monkeypatch.setattr(settings, "_section", lambda name: sections.get(name, {}))


@pytest.fixture
def from_the_network(monkeypatch):
    monkeypatch.setattr(guard, "at_the_server", lambda: False)


@pytest.fixture
def passphrase(monkeypatch):
    monkeypatch.setenv("POOLVIZ_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(guard, "ATTEMPTS", guard.Attempts())


# ---- who sits at the server


@pytest.mark.parametrize("address", [None, "127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "headers",
    [
        LOCAL,
        {"Host": "localhost"},
        {"host": "127.0.0.1:8501", "origin": "http://127.0.0.1:8501"},
        {"Host": "[::1]:8501", "Origin": "http://[::1]:8501"},
    ],
)
def test_a_browser_on_the_server_is_at_the_server(address, headers):
    assert guard.is_direct(address, headers)


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "172.17.0.1", "2001:db8::1", "fe80::1%eth0", "", "unix"])
def test_another_machine_is_not_whatever_its_headers_say(address):
    assert not guard.is_direct(address, LOCAL)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8501"},
        LOCAL | {"X-Forwarded-For": "127.0.0.1"},
        LOCAL | {"x-forwarded-for": ""},
        LOCAL | {"X-Forwarded-Proto": "https"},
        LOCAL | {"Forwarded": "for=192.0.2.7"},
        LOCAL | {"Via": "1.1 gate"},
        LOCAL | {"X-Real-IP": "127.0.0.1"},
        LOCAL | {"CF-Connecting-IP": "192.0.2.7"},
        LOCAL | {"Origin": "https://pooling.school.example"},  # a proxy that adds nothing; the browser tells
        LOCAL | {"Origin": "null"},
        LOCAL | {"Host": "pooling.school.example"},  # also a page that has its own name point here
        LOCAL | {"Host": "localhost.school.example"},
        LOCAL | {"Host": "localhost@school.example"},
        LOCAL | {"Host": "127.0.0.1.school.example"},
        LOCAL | {"Host": "[::1"},
        LOCAL | {"Host": ""},
    ],
)
def test_who_comes_through_a_proxy_on_the_server_is_not_at_it(headers):
    assert not guard.is_direct(None, headers)


def test_a_session_without_a_connection_is_nobody(monkeypatch):
    """A message, then the line is cut: Streamlit has no address any more, as for localhost."""

    class Context:
        headers, ip_address = {}, None

    monkeypatch.setattr(st, "context", Context)
    assert not AT_THE_SERVER()


def test_who_comes_through_a_socket_file_is_not_at_the_server(monkeypatch):
    """Its peer is a proxy, and has no address."""

    class Context:
        headers, ip_address = LOCAL, None

    monkeypatch.setattr(st, "context", Context)
    assert AT_THE_SERVER()
    monkeypatch.setattr(st, "get_option", lambda name: "unix:///run/poolviz.sock" if name == "server.address" else None)
    assert not AT_THE_SERVER()


# ---- what a teacher sets


def test_the_environment_goes_before_the_secrets(monkeypatch):
    assert settings.access() == settings.Access() and not settings.access().is_set
    secrets(monkeypatch, poolviz={"passphrase": "of the secrets", "teachers": ["Ada@School.example"]})
    assert settings.access() == settings.Access("of the secrets", frozenset({"ada@school.example"}))
    monkeypatch.setenv("POOLVIZ_PASSPHRASE", " of the environment ")
    monkeypatch.setenv("POOLVIZ_TEACHERS", "b@school.example, C@school.example")
    assert settings.access() == settings.Access(
        "of the environment", frozenset({"b@school.example", "c@school.example"})
    )


@pytest.mark.parametrize(
    ("auth", "providers"),
    [
        ({}, ()),
        ({"redirect_uri": "x", "cookie_secret": "y"}, ()),
        ({"redirect_uri": "x", "client_id": "y"}, ("",)),
        ({"redirect_uri": "x", "google": {"client_id": "y"}, "client_kwargs": {}}, ("google",)),
    ],
)
def test_a_login_is_one_that_streamlit_knows(monkeypatch, auth, providers):
    secrets(monkeypatch, auth=auth)
    assert settings.access().providers == providers


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"passphrase": 12345678}, "quotation marks"),
        ({"passphrase": "hunter2"}, "8 characters"),
        ({"passphrse": "hunter2hunter2"}, "passphrse"),
        ({"teachers": "a@b.c"}, "e-mail addresses"),
        ({"teachers": ["ada"]}, "e-mail addresses"),
        ({"max_queued": "hunter2"}, "max_queued in"),
        ({"max_runs": True}, "max_runs in"),
        ({"max_seconds": 1.5}, "max_seconds in"),
    ],
)
def test_what_cannot_be_meant_closes_the_server_in_one_sentence(monkeypatch, section, told):
    secrets(monkeypatch, poolviz=section)
    said = guard.objection()  # of a visitor at the server, who else may
    assert told in said and said.endswith(".") and "hunter2" not in said
    with pytest.raises(guard.NotPermittedError, match=re.escape(said)):
        guard.demand()


@pytest.mark.parametrize("content", [b"[poolviz\npassphrase = 'hunter2'", b"\xff\xfe[poolviz]", b"poolviz = 'hunter2'"])
def test_secrets_that_cannot_be_read_close_the_server(monkeypatch, tmp_path, content):
    """Streamlit's own reader; the fixture stands aside."""
    path = tmp_path / "secrets.toml"
    path.write_bytes(content)
    reader = type(st.secrets)()
    monkeypatch.setattr("streamlit.config.get_option", lambda name: [str(path)] if name == "secrets.files" else None)
    monkeypatch.setattr(st, "secrets", reader)
    monkeypatch.setattr(settings, "_section", SECTION)
    said = guard.objection()
    assert said.startswith("secrets.toml") and "hunter2" not in said and str(path) not in said


def test_bounds_of_the_secrets_hold_where_the_environment_says_nothing(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"POOLVIZ_MAX_QUEUED": "3", "POOLVIZ_MAX_STEPS": " "})
    os.environ.pop("POOLVIZ_MAX_SECONDS", None)
    secrets(monkeypatch, poolviz={"max_queued": 5, "max_seconds": 60, "max_steps": 7, "passphrase": PASSPHRASE})
    settings.bounds_to_environment.__wrapped__()
    found = {name: os.environ.get(f"POOLVIZ_{name.upper()}") for name in (*settings.BOUNDS, *settings.ACCESS)}
    assert (found["max_queued"], found["max_seconds"], found["max_steps"]) == ("3", "60", "7")
    assert found["passphrase"] is None  # processes that train inherit the environment


# ---- guessing


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_pauses_grow_and_during_one_the_right_passphrase_is_not_looked_at():
    clock = Clock()
    attempts = guard.Attempts(clock)
    for _ in range(attempts.FREE):
        assert attempts.judge("wrong", PASSPHRASE) == "That is not the passphrase."
    for pause in (1, 2, 4, 8, 16, 32, 60, 60):
        assert f"again in {pause} s" in attempts.judge(PASSPHRASE, PASSPHRASE)
        clock.now += pause - 0.01
        assert "again in 1 s" in attempts.judge(PASSPHRASE, PASSPHRASE)
        clock.now += 0.02
        assert attempts.judge("wrong", PASSPHRASE) == "That is not the passphrase."
    clock.now += 60
    assert attempts.judge(PASSPHRASE, PASSPHRASE) == ""


def test_a_guesser_who_never_rests_gets_1500_guesses_a_day():
    clock, looked_at = Clock(), 0
    attempts = guard.Attempts(clock)
    while clock.now < 86_400:
        looked_at += attempts.judge("wrong", PASSPHRASE) == "That is not the passphrase."
        clock.now += 0.5
    assert 1_000 < looked_at < 1_500


def test_an_hour_without_a_wrong_one_forgets():
    clock = Clock()
    attempts = guard.Attempts(clock)
    for _ in range(attempts.FREE):
        attempts.judge("wrong", PASSPHRASE)
    clock.now += attempts.FORGOTTEN + 1
    attempts.judge("wrong", PASSPHRASE)
    assert attempts.judge(PASSPHRASE, PASSPHRASE) == ""


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("", ""),
        ("", PASSPHRASE),
        (PASSPHRASE + "x", PASSPHRASE),
        (PASSPHRASE[:-1], PASSPHRASE),
        (PASSPHRASE.upper(), PASSPHRASE),
        ("Straße und Öl", "Strasse und Oel"),
    ],
)
def test_only_the_passphrase_itself_is_right(given, right):
    assert guard.Attempts().judge(given, right)


@pytest.mark.parametrize("right", [PASSPHRASE, "Straße und Öl", "пароль учителя", os.fsdecode(b"caf\xe9 caf\xe9")])
def test_any_text_may_be_a_passphrase(right):
    assert guard.Attempts().judge(f" {right} ", right) == ""


def test_the_comparison_takes_the_same_time_for_all(monkeypatch):
    """That it does is Python's own promise of `hmac.compare_digest`, for bytes."""
    seen = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: seen.append((a, b)) or a == b)
    guard.Attempts().judge("ä", PASSPHRASE)
    assert seen == [("ä".encode(), PASSPHRASE.encode())]


# ---- the page


def lock(app, label="Start"):
    """What stands where a button would be: the popover of that label, if any."""
    return [block for block in app.get("popover") if block.proto.popover.label == label]


def answer(app, given, place="start"):
    app.text_input(key=f"passphrase {place}").set_value(given)
    return press(app, "Unlock")


def test_at_a_server_where_nothing_is_set_all_is_open():
    app = opened()
    assert "Start" in labels(app) and not lock(app) and not any(button.disabled for button in app.button)


def test_a_visitor_from_the_network_is_told_what_to_set_and_sees_all(from_the_network, queue):
    asked = []
    queue.measure = asked.append
    app = shown(a_run(), a_run("stopped", "Stopped.", pooling="average"), a_run("running", pooling="lp"))
    (start,) = (button for button in app.button if button.label == "Start")
    assert start.disabled and not lock(app)
    assert "POOLVIZ_PASSPHRASE" in texts(app) and "completed" in texts(app) and "stopped" in texts(app)
    assert not [button for button in app.button if (button.help or "").startswith(("Stop", "Go on", "Start"))][1:]
    assert app.get("vega_lite_chart") and asked == []  # an estimate trains, too


def test_the_passphrase_opens_this_session_alone(passphrase, queue):
    app = opened()
    assert lock(app) and "Start" not in labels(app)
    assert "passphrase" in texts(app)
    answer(app, "a wrong one")
    assert [error.value for error in app.error] == ["That is not the passphrase."]
    assert app.text_input(key="passphrase start").value == ""
    answer(app, PASSPHRASE)
    assert not lock(app) and "Start" in labels(app)
    press(app, "Start")
    assert len(queue.asked("submit")) == 1
    assert lock(opened())  # another session is asked again
    assert PASSPHRASE not in str(app.query_params)


def test_a_server_that_is_guessed_at_says_how_long_to_wait(passphrase, monkeypatch):
    monkeypatch.setattr(guard.Attempts, "FREE", 0)
    answer(opened(), "a wrong one")
    app = answer(opened(), PASSPHRASE)  # another session
    assert "Too many" in app.error[0].value and lock(app)


def test_a_button_that_was_there_before_starts_nothing_any_more(monkeypatch, queue):
    """As a message that no page sent: the widget is known, the session may not."""
    stopped = a_run("stopped", "Stopped.")
    resumable = a_run("stopped", "Stopped.", pooling="average")
    resumable.weights("checkpoint").write_bytes(b"weights")
    going, more = a_run("running", pooling="lp"), a_run("queued", pooling="mixed")
    names = [run.name for run in (stopped, resumable, going, more)]
    for wanted in ("Start", "Go on with", "anew", "Stop ", "Stop all"):
        monkeypatch.setattr(guard, "at_the_server", lambda: True)
        app = opened(runs=",".join(names))
        button = next(b for b in app.button if wanted in b.label or wanted in (b.help or ""))
        monkeypatch.setattr(guard, "at_the_server", lambda: False)
        button.click()
        healthy(app.run())
        told = [*(toast.value for toast in app.toast), *(error.value for error in app.error)]
        # "anew" is answered by the run of the script, which does not draw it any more
        assert any("POOLVIZ" in each for each in told) or wanted == "anew"
    assert [queue.asked(kind) for kind in ("submit", "resume", "stop")] == [[], [], []]
    assert {run.name for run in store.users_runs()} == set(names)


def test_a_link_opens_nothing(passphrase, queue):
    app = opened(guard_admitted="true", passphrase=PASSPHRASE, runs=a_run().name)
    assert lock(app) and "Start" not in labels(app) and queue.asked("submit") == []


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ({}, "login opens this"),
        ({"email": "ada@school.example"}, "login opens this"),  # of a header, not of the login
        ({"is_logged_in": False, "email": "ada@school.example"}, "login opens this"),
        ({"is_logged_in": True}, "login opens this"),
        ({"is_logged_in": True, "email": "eve@school.example"}, "not among"),
        ({"is_logged_in": True, "email": "ada@school.example", "email_verified": False}, "login opens this"),
        ({"is_logged_in": True, "email": "Ada@School.example"}, ""),
        ({"is_logged_in": True, "email": "ada@school.example", "email_verified": True}, ""),
    ],
)
def test_the_login_of_a_teacher_opens(monkeypatch, user, told):
    class User:
        to_dict = staticmethod(lambda: user)

    secrets(monkeypatch, auth={"client_id": "x"}, poolviz={"teachers": ["ada@school.example"]})
    monkeypatch.setattr(st, "user", User)
    assert told in guard.objection() and bool(told) == bool(guard.objection())
    app = opened()
    assert ("Start" in labels(app)) == (not told)
    assert ("Log in" in labels(app)) == ("login opens" in told) and ("Log out" in labels(app)) == ("not among" in told)


def test_a_login_that_the_server_cannot_do_is_a_sentence(monkeypatch):
    secrets(monkeypatch, auth={"google": {"client_id": "x"}}, poolviz={"teachers": ["ada@school.example"]})
    app = opened()
    press(app, "Log in with google")
    assert "Authlib" in app.error[0].value or "not complete" in app.error[0].value


def test_an_encoder_that_a_teacher_fetched_is_for_everybody(monkeypatch):
    fetched, encoder = [], choose_sentences._default_encoder()
    monkeypatch.setattr(choose_sentences, "load_encoder", lambda name: fetched.append(name) or encoder)
    for cache in (choose_sentences._hub_encoder, choose_sentences._refusal):
        cache.clear()
    monkeypatch.setattr(guard, "at_the_server", lambda: False)
    app = sentences_opened(encoder="some/encoder")
    assert fetched == [] and "Ask the Hub" in labels(app)
    monkeypatch.setattr(guard, "at_the_server", lambda: True)
    app = sentences_opened(encoder="some/encoder")
    assert fetched == []  # a teacher who follows a stranger's link has not asked for anything
    press(app, "Ask the Hub")
    assert fetched == ["some/encoder"] and "Ask the Hub" not in labels(app)
    monkeypatch.setattr(guard, "at_the_server", lambda: False)
    assert "Ask the Hub" not in labels(sentences_opened(encoder="some/encoder"))
    assert fetched == ["some/encoder"]
    choose_sentences._hub_encoder.clear()


# ---- every act asks

COSTLY = {"submit", "resume", "stop", "arrive", "fetch", "download_cola", "download", "load_encoder", "delete"}
OF = {"jobs", "models", "sentences", "store"}  # modules whose functions are named with them
FREE = {"_default_encoder"}  # comes with poolviz


def unasked(source: str) -> list[str]:
    """Functions that mention a costly act before they have asked the guard."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or function.name in FREE:
            continue
        acts = [node.lineno for node in ast.walk(function) if _is_act(node)]
        asks = [node.lineno for node in ast.walk(function) if _is_question(node)]
        if acts and not (asks and min(asks) <= min(acts)):
            found.append(function.name)
    return found


def _is_act(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg == "download" and getattr(node.value, "value", None) is True
    if isinstance(node, ast.Attribute):
        return node.attr in COSTLY and getattr(node.value, "id", "") in OF
    return isinstance(node, ast.Name) and node.id in COSTLY


def _is_question(node: ast.AST) -> bool:
    return ast.unparse(node) in ("guard.demand()",) or (
        isinstance(node, ast.Call) and ast.unparse(node.func) == "guard.gate"
    )


@pytest.mark.parametrize("path", python_files("poolviz/pages"), ids=lambda path: path.stem)
def test_no_page_does_what_costs_without_asking(path: Path):
    assert unasked(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    jobs.submit(configs)",
        "def f():\n    st.button('Stop', on_click=jobs.stop)",
        "def f():\n    jobs.resume(run)\n    guard.demand()",
        "def f():\n    images.mnist(0, 'mnist', download=True)",
        "def f():\n    arrive(packed)",
        "def f():\n    if guard.permitted():\n        store.delete(run)",
    ],
)
def test_the_checker_sees_what_does_not_ask(source):
    assert unasked(source) == ["f"]


# ---- a real server


class Session:
    """A visitor who speaks Streamlit's protocol and has no browser."""

    def __init__(self, socket, query):
        self.socket, self.query = socket, query
        self.buttons, self.fields, self.received = {}, {}, b""
        self.chosen = {}  # states of what is chosen among several: a browser sends them with every run
        self.run()

    def run(self, *states):
        """Run the script with these widgets' states."""
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string, asked.page_name = self.query, "train"
        asked.widget_states.widgets.extend([*self.chosen.values(), *states])
        self.socket.send(message.SerializeToString())
        self.buttons, self.fields = {}, {}
        while not self._take(ForwardMsg.FromString(self._next())):
            pass
        return self

    def _next(self):
        data = self.socket.recv(timeout=60)
        self.received += data
        return data

    def _take(self, message):
        kind = message.WhichOneof("type")
        if kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            if element.WhichOneof("type") == "button":
                self.buttons[element.button.label] = element.button
            elif element.WhichOneof("type") == "text_input":
                self.fields[element.text_input.label] = element.text_input
            elif element.WhichOneof("type") == "multiselect":
                several = element.multiselect
                if several.set_value or several.id not in self.chosen:
                    state = self.chosen[several.id] = WidgetState(id=several.id)
                    first = [several.options[number] for number in several.default]
                    state.string_array_value.data.extend(several.raw_values or first)
        return kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN

    def press(self, button, *more):
        return self.run(WidgetState(id=button, trigger_value=True), *more)

    def may_start(self):
        return "Start" in self.buttons and not self.buttons["Start"].disabled

    def answer(self, given):
        field, opens = self.fields["Passphrase"].id, self.buttons["Unlock"].id
        return self.press(opens, WidgetState(id=field, string_value=given))


@pytest.fixture
def visit():
    """Visitors of a server; their connections are closed at the end."""
    with contextlib.ExitStack() as lines:

        def enter(server, query="", cookies="", token="", **headers):
            headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"Cookie": cookies}
            line = connect(
                server.url.replace("http", "ws") + "_stcore/stream",
                subprotocols=["streamlit", *([token] if token else [])],
                additional_headers={name: value for name, value in headers.items() if value},
                origin=server.url.rstrip("/"),
                max_size=None,
                proxy=None,
            )
            return Session(lines.enter_context(line), query)

        yield enter


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("guard")


def started(base, name, **environment):
    """A server whose home holds what a teacher has set, and no data."""
    home = base / name
    known = {"HOME": str(home), "POOLVIZ_RUNS": str(home / "runs"), "POOLVIZ_DATA": "", "OMP_NUM_THREADS": "1"}
    home.mkdir(exist_ok=True)
    server = Server(home / "log", **known | environment).wait()
    server.home = home
    return server


@pytest.fixture(scope="module")
def unset(base):
    server = started(base, "unset")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def guarded(base):
    """A passphrase and a login in the secrets, and a bound that lets a run end at once."""
    (base / "guarded" / ".streamlit").mkdir(parents=True)
    (base / "guarded" / ".streamlit" / "secrets.toml").write_text(f"""
[poolviz]
passphrase = "{PASSPHRASE}"
teachers = ["Ada@school.example"]
max_steps = 1

[auth]
redirect_uri = "http://localhost/oauth2callback"
cookie_secret = "a secret that signs cookies, thirty-two bytes"
client_id = "x"
client_secret = "y"
server_metadata_url = "https://login.school.example/.well-known/openid-configuration"
""")
    server = started(base, "guarded")
    yield server
    server.stop()


def runs_of(server):
    folder = server.home / "runs"
    return sorted(path.parent.name for path in folder.glob("*/config.json"))


def test_who_comes_from_this_machine_may_and_who_comes_through_a_proxy_may_not(visit, unset):
    assert visit(unset).may_start()
    assert not visit(unset, X_Forwarded_For="127.0.0.1").may_start()
    assert not visit(unset, X_Forwarded_For="192.0.2.7").may_start()
    assert not visit(unset, Via="1.1 gate").may_start()


def test_a_press_of_a_button_that_was_never_drawn_starts_nothing(visit, unset):
    """The id is taken from a session that has the button."""
    start = visit(unset).buttons["Start"].id
    visit(unset, X_Forwarded_For="192.0.2.7").press(start)
    stranger = visit(unset, X_Forwarded_For="192.0.2.7")
    stranger.press(stranger.buttons["Start"].id)  # the closed one
    assert "Start" in stranger.buttons  # the script went through
    assert runs_of(unset) == []


def test_no_forged_state_and_no_link_opens_a_server(visit, guarded, unset):
    start = visit(unset).buttons["Start"].id
    session = visit(guarded, query=f"guard_admitted=true&passphrase={PASSPHRASE.replace(' ', '+')}")
    forged = [WidgetState(id=name, bool_value=True) for name in (guard.ADMITTED, f"$$ID-x-{guard.ADMITTED}")]
    session.press(start, *forged)
    assert not session.may_start() and runs_of(guarded) == []
    session = visit(guarded)
    clear = BackMsg(clear_cache=True)
    session.socket.send(clear.SerializeToString())
    assert not session.run().may_start() and "Passphrase" in session.fields


def test_the_passphrase_starts_a_run_in_one_session_and_is_never_told(visit, guarded):
    session = visit(guarded, query="maps=max")  # also at the server itself: what is set holds for all
    assert not session.may_start() and "Passphrase" in session.fields
    session.answer("a wrong one")
    assert not session.may_start()
    session.answer(PASSPHRASE)
    assert session.may_start()
    assert not visit(guarded).may_start()
    session.press(session.buttons["Start"].id)
    started_runs = [store.Run(guarded.home / "runs" / name) for name in runs_of(guarded)]
    assert len(started_runs) == 1
    deadline = time.monotonic() + 120
    while not all(run.ended for run in started_runs) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert {(run.state, run.config.max_steps) for run in started_runs} == {("completed", 1)}  # the secrets' bound
    session.socket.close()
    told = [session.received, (guarded.home / "log").read_bytes()]
    told += [path.read_bytes() for run in started_runs for path in run.folder.iterdir()]
    assert not any(PASSPHRASE.encode() in each or b"a wrong one" in each for each in told)


def cookies(server, email, secret="a secret that signs cookies, thirty-two bytes"):
    """What Streamlit gives a browser after a login, signed with `secret`."""
    token = generate_xsrf_token_string()
    user = {"origin": server.url.rstrip("/"), "is_logged_in": True, "email": email}
    signed = create_signed_value(secret, "_streamlit_user", json.dumps(user)).decode()
    return {"cookies": f"_streamlit_xsrf={token}; _streamlit_user={signed}", "token": token}


def test_a_signed_login_of_a_teacher_may_and_no_other(visit, guarded):
    assert visit(guarded, **cookies(guarded, "ada@school.example")).may_start()
    assert not visit(guarded, **cookies(guarded, "eve@school.example")).may_start()
    assert not visit(guarded, **cookies(guarded, "ada@school.example", secret="another secret")).may_start()


def test_no_attempt_is_forgotten_when_a_browser_asks_for_a_clear_cache(visit, guarded):
    """Last in this file: the server pauses afterwards."""
    session = visit(guarded)
    for _ in range(guard.Attempts.FREE):
        session.answer("a wrong one")
        session.socket.send(BackMsg(clear_cache=True).SerializeToString())
        session.run()
    session.answer(PASSPHRASE)
    assert not session.may_start()
