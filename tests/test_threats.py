"""What README's Trust section says and no other test proves: its references, what the server gives away, its ports."""

import contextlib
import http.client
import io
import re
import socket
import time
import tomllib
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image, PngImagePlugin
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string
from websockets.sync.client import connect

from poolviz.inputs import uploads
from poolviz.inputs.picture import InputError
from poolviz.pages.receive_run import MOST_UPLOADED
from poolviz.runs import store
from poolviz.runs.queue import Queue
from poolviz.runs.standby import spawn
from poolviz.runs.store import Run
from poolviz.training.config import default_config
from tests.server import Server
from tests.test_page_explorer import healthy, new_page, no_data

__all__ = ["no_data"]  # a fixture: no test here finds a data set

ROOT = Path(__file__).parents[1]
LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")

# ---- the table in README

REFERENCE = re.compile(r"`((?:[\w-]+/)*test_\w+\.py)(?:::(test_\w+))?`")


def trust_section():
    return (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Trust\n")[1].split("\n## ")[0]


def absent(text):
    """References to tests that are not there."""
    found = []
    for file, name in REFERENCE.findall(text):
        path = ROOT / "tests" / file
        if not path.is_file() or name and not re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.M):
            found.append(f"{file}::{name}")
    return found


def test_every_line_of_the_table_has_a_test_that_is_there():
    rows = [line for line in trust_section().splitlines() if line.startswith("| ") and " | " in line]
    assert len(rows) > 15
    assert all(REFERENCE.search(row) for row in rows[1:]), [row for row in rows[1:] if not REFERENCE.search(row)]
    assert absent(trust_section()) == []


def test_a_reference_to_nothing_is_seen():
    text = "`test_threats.py`, `test_threats.py::test_no_such`, `browser/test_no.py`, `test_guard.py::unasked`"
    assert absent(text) == ["test_threats.py::test_no_such", "browser/test_no.py::"]


# ---- links: what the frame reads on every page

HOSTILE = ("<script>alert(1)</script>", "![x](//evil.example/x.png)", "../../etc/passwd", "9" * 5000, "-1", "\0", "٣")


@pytest.mark.parametrize("name", ["lesson", "step", "answers", "projector", "controls"])
def test_what_a_link_says_to_the_frame_is_told_as_text(name):
    for text in HOSTILE:
        app = healthy(new_page(**{"lesson": "pooling", name: text}).run())
        for kind in ("markdown", "caption", "warning", "error", "info"):
            for element in getattr(app, kind):
                outside = "".join(element.value.split("`")[::2])
                assert not re.search(r"(?<!\\)<script|(?<!\\)!\[|etc/passwd", outside), element.value


@pytest.mark.parametrize("given", ["<b>x</b>", "0:1:2", "e", "1e999", "-5--5", "1-2-3", "9" * 24, "nan", "999-999"])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_an_answer_that_is_none_takes_no_page_away(given, step):
    app = healthy(new_page(lesson="sparse", step=str(step), answers=f"{step}:{given}").run())
    assert not any(given in element.value for element in app.success)


# ---- pictures that are something else, too


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GREY = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))


def archive():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("config.json", "{}")
    return packed.getvalue()


@pytest.mark.parametrize("tail", [b"<script>alert(1)</script>", b"%PDF-1.7", archive()], ids=["HTML", "PDF", "zip"])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_of_a_polyglot_the_pixels_alone_are_kept(kind, tail):
    """Nothing gives an upload's bytes back: what a page shows is drawn anew from the tensor."""
    picture = uploads.upload(encoded(GREY, kind) + tail, "both.png")
    assert torch.equal(picture.pixels, uploads.upload(encoded(GREY, kind), "one.png").pixels)


@pytest.mark.parametrize("head", [b"GIF89a/*", b"BM", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"RIFF"])
def test_a_script_behind_a_pictures_first_bytes_is_none(head):
    with pytest.raises(InputError):
        uploads.upload(head + b"*/=1;alert(1)//<script>alert(1)</script>" * 20, "script.gif")


def text_bomb(size):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "x" * size, zip=True)
    return encoded(GREY, pnginfo=notes)


def colours_bomb(size):
    return encoded(GREY, icc_profile=bytes(size))


@pytest.mark.parametrize("bomb", [text_bomb, colours_bomb])
def test_what_a_picture_says_beside_its_pixels_is_not_unpacked_without_a_bound(bomb):
    data = bomb(200_000_000)
    assert len(data) < 400_000
    tracemalloc.start()
    with contextlib.suppress(InputError):
        uploads.upload(data, "bomb.png")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


# ---- what the server gives away and takes

SECRET = "only the teacher knows"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("threats")
    (home / ".streamlit").mkdir()
    (home / ".streamlit" / "secrets.toml").write_text(f'[poolviz]\npassphrase = "{SECRET}"\n')
    known = {"HOME": str(home), "POOLVIZ_RUNS": str(home / "runs"), "POOLVIZ_DATA": "", "OMP_NUM_THREADS": "1"}
    running = Server(home / "log", **known).wait()
    yield running
    running.stop()


def ask(server, method, path, body=None, **headers):
    """An answer's status and body; the path goes out as it is."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = line.getresponse()
    found = answer.status, answer.read()
    line.close()
    return found


UP = ("", "/..", "/../..", "/%2e%2e", "/..%2f..", "/.%2e/%2e.", "/..%5c..", "/static/../..", "/component/x/../../..")


@pytest.mark.parametrize("base", ["", "/static", "/app/static", "/media", "/component/poolviz", "/_stcore/component"])
def test_no_file_of_the_server_is_served(server, base):
    wanted = ("README.md", "streamlit_app.py", ".streamlit/config.toml", ".streamlit/secrets.toml", "etc/passwd")
    marks = (b"pooling inside neural networks", b"import streamlit", b"postScriptGC", SECRET.encode(), b"root:")
    page = ask(server, "GET", "/")[1]
    assert not any(mark in page for mark in marks)
    for up in UP:
        for file in wanted:
            _, body = ask(server, "GET", f"{base}{up}/{file}")
            assert not any(mark in body for mark in marks), (base, up, file)


def upload(server, place, size=1, **headers):
    """Send a file of `size` bytes; the answer's status."""
    form = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + bytes(size) + b"\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"
    return ask(server, "PUT", f"/_stcore/upload_file/{place}", form, Content_Type=kind, **headers)[0]


@pytest.fixture
def session(server):
    """A visitor's session: its name, and the headers that its own page sends."""
    token = generate_xsrf_token_string()
    cookie = {"Cookie": f"_streamlit_xsrf={token}"}
    stream = server.url.replace("http", "ws") + "_stcore/stream"
    with connect(stream, additional_headers=cookie, origin=server.url.rstrip("/"), max_size=None, proxy=None) as line:
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        line.send(asked.SerializeToString())
        told = ForwardMsg()
        while told.WhichOneof("type") != "new_session":
            told = ForwardMsg.FromString(line.recv(timeout=60))
        yield told.new_session.initialize.session_id, {"X_Xsrftoken": token, **cookie}


def test_nobody_uploads_without_a_session_of_his_own(server, session):
    name, headers = session
    assert upload(server, f"{name}/1", **headers) == 204
    assert 400 <= upload(server, f"{name}/1") < 500  # another site's page cannot read the cookie
    for place in ("no-session/1", "../../x/1", "%2e%2e/x"):
        assert 400 <= upload(server, place, **headers) < 500


def test_no_upload_is_larger_than_the_page_says(server, session):
    name, headers = session
    assert MOST_UPLOADED * 2**20 == uploads.UPLOAD_MAX_BYTES
    assert upload(server, f"{name}/1", uploads.UPLOAD_MAX_BYTES - 1000, **headers) == 204
    assert upload(server, f"{name}/2", uploads.UPLOAD_MAX_BYTES + 1, **headers) == 413


def test_the_server_says_no_traceback():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["client"]["showErrorDetails"] == "none"
    assert config["server"]["maxUploadSize"] <= 20
    assert not {"enableXsrfProtection", "enableCORS", "enableStaticServing"} & set(config["server"])  # as they are


# ---- ports


def listening(process):
    """Addresses at which a process waits for others."""
    return {(each.laddr.ip, each.laddr.port) for each in process.net_connections("inet") if each.status == "LISTEN"}


def test_the_embedded_queue_is_reached_from_this_machine_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path))
    monkeypatch.delenv("POOLVIZ_SCHEDULER", raising=False)
    before = listening(psutil.Process())
    queue = Queue()
    try:
        address = queue.connect(workers=1).scheduler.address
        assert address.startswith("inproc://")
        assert {ip for ip, _ in listening(psutil.Process()) - before} <= set(LOOPBACK)
    finally:
        queue.close()


def test_a_runs_process_waits_for_nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path))
    run = store.create(default_config("digits", epochs=2, width=4, train_limit=100, eval_limit=20))
    training, looked = spawn(str(run.folder)), 0
    process = psutil.Process(training.pid)
    while training.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            assert not any(map(listening, (process, *process.children(recursive=True))))
            looked += run.metrics() != []
        time.sleep(0.01)
    assert looked and Run(run.folder).state == "completed"


def test_a_port_that_is_open_is_seen():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname() in listening(psutil.Process())
