"""What is fuzzed: the readers of what comes from strangers, and what each may do with any bytes at all.

A target's `run` returns where the reader gives a result that holds together, or refuses in one sentence; anything
else is a finding: another exception, a sentence with a line break or Python's own words, a file that stays behind.
"""

import contextlib
import functools
import io
import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.numpy import save

from poolviz.inputs import encoder, entered, sentences, uploads
from poolviz.inputs.picture import InputError
from poolviz.lessons import reading
from poolviz.lessons.lesson import MissingFactError, filled
from poolviz.pages import link
from poolviz.pages.frame import params_of
from poolviz.pages.show import JOINER
from poolviz.runs import arrival, networks, parquet_apart, received, results, store, summary
from poolviz.runs.disagreement import class_errors
from poolviz.runs.groups import figures, group
from poolviz.training.config import RunConfig
from tests.fuzz import mutate

ROOT = Path(__file__).parents[2]
PYTHONS = ("Traceback", "invalid literal", "could not convert", "Exceeds the limit", "codec can't", "Error(")


@dataclass(frozen=True)
class Target:
    """A reader under test."""

    about: str
    seeds: Callable[[], list[bytes]]  # good inputs
    run: Callable[[bytes, Path], None]  # bytes, a folder of its own
    change: Callable[..., bytes]  # one of mutate.py's
    longest: int = 40_000  # bytes of an input


@contextlib.contextmanager
def at_home(folder):
    """Users' runs are in a folder of ours, and none are shipped."""
    there = mock.patch.dict(os.environ, POOLVIZ_RUNS=str(folder / "runs"))
    # a table is read in a process of its own, which takes a second: the same one is read once
    once = mock.patch.object(parquet_apart, "columns", functools.lru_cache(256)(parquet_apart.columns))
    with there, once, mock.patch.object(store, "SHIPPED", folder / "shipped"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow and pandas tell of odd files so
        yield


def told(error, ends=".", most=900):
    """The error is a plain refusal: one sentence, in our own words."""
    assert type(error) in (ValueError, InputError), type(error)
    said = str(error)
    assert 5 < len(said) < most and said.endswith(ends), said[:2000]
    assert said.isprintable(), said[:2000]  # a line break is not
    assert not any(word in said for word in PYTHONS), said


def everything(folder):
    """All that is below a folder."""
    return sorted(folder.rglob("*")) if folder.exists() else []


# ---- runs that come as a zip ----


def run_seeds():
    """Two shipped runs, one of images with the weights of a small network, and one of sentences."""
    return [mutate.zipped(_small_run("digits-max-s0")), mutate.zipped(_small_run("cola-cls-s0"), "cola-cls-s0/")]


def _small_run(name):
    folder = ROOT / "pretrained" / name
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".safetensors"}
    lines = files["metrics.jsonl"].split(b"\n")
    kept = [line for line in lines if not line or json.loads(line)["kind"] != "step"]  # shorter: more runs a second
    files["metrics.jsonl"] = b"\n".join(kept)
    table = pd.read_parquet(io.BytesIO(files["predictions.parquet"]))
    few = table.head(12)
    few.attrs = table.attrs
    files["predictions.parquet"] = few.to_parquet(index=False)
    if name.startswith("digits"):
        config = RunConfig.from_dict(json.loads(files["config.json"]) | {"width": 1})
        files["config.json"] = config.to_json().encode()
        tensors = {key: np.zeros(shape, "float16") for key, shape in networks._shapes(config).items()}
        files["best.safetensors"] = save(tensors, {"facts": json.dumps({"epoch": 3}), "format": "np"})
    return files


def arrive(data, folder):
    """A run arrives and can be used, or is refused and leaves nothing."""
    try:
        run = arrival.arrive(data)
    except ValueError as error:
        told(error)
    else:
        _use(run)
        try:
            arrival.arrive(run.zipped())
            raise AssertionError("the same run was kept twice")
        except ValueError as error:
            assert "is here already" in str(error), error
        store.delete(run)
    left = everything(folder)
    assert left in ([], [folder / "runs"]), left


def _use(run):
    """What pages do with a run that arrived: nothing may be missing or damaged."""
    found = results.read(run)
    assert run.ended and found.state == run.state and run.job["by"] == "import"
    assert run.folder.parent == store.runs_folder() and store.NAME.fullmatch(run.name)
    summary.result(summary.standing(run))
    for one in group([found], found.state):
        class_errors(one)
        figures([one], "validation_error")
    table = run.folder / "predictions.parquet"
    if table.is_file():
        assert list(pd.read_parquet(table).columns) == list(received.COLUMNS)


# ---- folders of runs, as they lie on the disk ----


def read_folder(data, folder):
    """Whatever files a folder holds, the list of runs is made, and the folder is read or named."""
    place = store.runs_folder() / "one"
    place.mkdir(parents=True)
    try:
        for name, content in mutate.unzipped(data).items():
            if name in (*arrival.MOST, "job.json"):
                (place / name).write_bytes(content)
        found, damaged = results.Shelf().read_all()
        for each in damaged:
            assert 5 < len(each.why) < 900 and each.why.endswith("."), each.why
        for run in store.newest():
            assert run.state in results.STATES
            run.metrics()
            stand = summary.standing(run)
            if stand is not None:
                summary.result(stand)
                assert stand.done <= 1
                summary.labels([stand.config], {})
        for one in group(found):
            class_errors(one)
        networks.at_hand()
    finally:
        shutil.rmtree(place)


def folder_seeds():
    """As `run_seeds`, one of them as if it ran, with who asked for it."""
    running = {"state": "running", "heartbeat": 1.7e9, "host": "somewhere", "pid": 7}
    job = {"by": "page", "visitor": "x", "created": 1.7e9}
    more = {"status.json": json.dumps(running).encode(), "job.json": json.dumps(job).encode()}
    return [*run_seeds(), mutate.zipped(_small_run("digits-max-s0") | more)]


# ---- addresses ----

PAGES = {page: params_of(page) for page in ("feature-maps", "sentences", "train", "compare")}


def link_seeds():
    """An address with every parameter of each page."""
    special = {
        "grid": "1,2,3,4;5,6,7,8;1,0,2.5,3;-4,5,6e-2,7",
        "drawing": entered.drawing_to_text(bytes(range(256)) * 3 + bytes(16)),
        "cell": "3,4",
        "place": "2,17",
        "trained": "digits-max-s0",
        "runs": "digits-max-s0,cola-cls-s0",
        "answers": "1:0,2:3.5,3:1-2",
        "lesson": "pooling",
        "encoder": "owner/model",
        "text": "The cat sleeps.\nIt does.",
        "model": "resnet18",
        "layer": "1",
        "measure": "test_error",
        "baseline": "max",
        "first": "max",
        "second": "mean",
        "size": "0",
        "y": "test_error",
        "seed": "3",
        "claim": "A1",
    }
    found = []
    for page, params in PAGES.items():
        query = {}
        for key, param in (params | link.FRAME).items():
            name = key.rpartition(".")[2]
            query[name] = param.show(param.default) if param.default not in (None, {}, []) else special.get(name, "1")
        found.append(f"{page}?{urlencode(query)}".encode())
    return found


NOTICE = re.compile(r"[a-z]+ = `[^`]+`: (?:[^`\\]|\\.)+")  # code, then text in which every sign is escaped


class _Query(dict):
    """`st.query_params`, as far as link.py uses it."""

    to_dict = dict.copy

    def from_dict(self, given):
        self.clear()
        self.update(given)


def open_link(data, folder):
    """A page opens with values that its address can say again; each bad one is told on a line of its own."""
    page, _, query = data.decode(errors="replace").partition("?")
    params = PAGES.get(page, PAGES["feature-maps"])
    given = dict(parse_qsl(query, keep_blank_values=True))
    state, again = _opened(params, given), None
    for notice in state[link.NOTICES]:
        assert NOTICE.fullmatch(notice) and notice.replace(JOINER, "").isprintable() and len(notice) < 1200, notice
    with mock.patch.object(link, "st", SimpleNamespace(session_state=state, query_params=_Query())):
        wanted = link.address(params | link.FRAME, (*params, *link.FRAME))
    again = _opened(params, wanted)
    assert again[link.NOTICES] == [], again[link.NOTICES]
    for key, param in (params | link.FRAME).items():
        same = again[key] == state[key] or again[key] == param.default  # too long for an address
        assert same or state[key] in ("", {}, []), (key, state[key], again[key])
    _names(state)


def _opened(params, query):
    state = {}
    with mock.patch.object(link, "st", SimpleNamespace(session_state=state, query_params=_Query(query))):
        link.restore(params)
        link.restore(link.FRAME)
    return state


def _names(state):
    """Names in an address lead to nothing outside of their place."""
    for key in ("trained", "train.runs", "compare.baseline"):
        value = state.get(key)
        for name in value if isinstance(value, list) else [value or ""]:
            run = store.find(name)
            assert run is None or run.folder.parent in (store.runs_folder(), store.SHIPPED)
    name = state.get("sentences.encoder") or ""
    if encoder.HUB_NAME.fullmatch(name) and ".." not in name:
        assert name.count("/") <= 1 and not name.startswith("/") and ":" not in name and "\\" not in name
    text = state.get("sentences.text")
    if text is not None:
        _lines(text)


# ---- pictures ----


def picture_seeds():
    """Small pictures of every kind and mode that is read."""
    levels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    colour, grey = Image.fromarray(levels[..., :3]), Image.fromarray(levels[..., 0])
    clear, deep = Image.fromarray(levels), Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    real = Image.fromarray(levels[..., 0].astype(np.float32))
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *(_encoded(colour, kind) for kind in uploads.UPLOAD_FORMATS),
        *(_encoded(grey, kind) for kind in ("PNG", "JPEG", "GIF", "TIFF")),
        *(_encoded(clear, kind) for kind in ("PNG", "WEBP", "TIFF")),
        *(_encoded(colour.quantize(8), kind, transparency=1) for kind in ("PNG", "GIF")),
        *(_encoded(colour, kind, exif=turned) for kind in ("JPEG", "PNG", "WEBP")),
        *(_encoded(colour, "TIFF", compression=how) for how in ("tiff_lzw", "packbits", "tiff_deflate", "jpeg")),
        *(_encoded(grey, kind, save_all=True, append_images=[grey.rotate(90)]) for kind in ("GIF", "WEBP", "TIFF")),
        _encoded(colour, "PNG", interlace=1),
        _encoded(colour.convert("CMYK"), "JPEG"),
        _encoded(grey.convert("1"), "TIFF", compression="group4"),
        _encoded(deep, "PNG"),
        _encoded(deep, "TIFF"),
        _encoded(real, "TIFF"),
    ]


def _encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def upload(data, folder):
    """A picture of finite numbers from 0 to 1, or a sentence."""
    try:
        picture = uploads.upload(data, "a picture.png", 28)
    except InputError as error:
        told(error)
        return
    channels, height, width = picture.pixels.shape
    assert channels == len(picture.channels) and channels in (1, 3)
    assert 4 <= min(height, width) <= max(height, width) <= 28 and picture.pixels.dtype == torch.float32
    assert 0 <= float(picture.pixels.min()) <= float(picture.pixels.max()) <= 1  # NaN is not
    assert picture.note.isprintable()


# ---- texts ----


def text_seeds():
    """One of each kind; the first byte says which."""
    tsv = "gj04\t1\t\tThe cat sleeps.\ngj04\t0\t*\tThe cat sleep.\n"
    lines = "\n".join(text for texts in sentences.EXAMPLES.values() for text in texts)
    return [
        b"0" + tsv.encode(),
        b"1" + lines.encode(),
        b"2" + b"1,2,3,4;5,6,7,8;1,0,2.5,3;-4,5,6e-2,7",
        b"3" + entered.drawing_to_text(bytes(range(256)) * 3 + bytes(16)).encode(),
    ]


def read_text(data, folder):
    """CoLA's lines, typed sentences, number grids and drawings."""
    kind, rest = data[:1], data[1:]
    try:
        (_cola, _typed, _grid, _drawing)[int(kind) if kind in (b"0", b"2", b"3") else 1](rest, folder)
    except InputError as error:
        told(error)


def _cola(data, folder):
    path = folder / "dev.tsv"
    path.write_bytes(data)
    try:
        found = sentences._cola_lines(path, "in")
    finally:
        path.unlink()
    assert found and all(each.text == each.text.strip() != "" and "\n" not in each.text for each in found)


def _typed(data, folder):
    halves = data.replace(b"\0\0", b"\xed\xa0\x80")  # of surrogate pairs, which no UTF-8 holds
    try:
        text = halves.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
    _lines(text)


def _lines(text):
    try:
        lines, notices = sentences.read_lines(text)
    except InputError as error:
        told(error)
        return
    assert 0 < len(lines) <= sentences.MOST_SENTENCES
    for line in lines:
        assert 0 < len(line) <= sentences.MOST_CHARACTERS and line == line.strip() and len(line.splitlines()) == 1
        assert not sentences._CONTROL.search(line) and not sentences._BIDI.search(line)
        line.encode()  # no half of a surrogate pair
    assert all(notice.isprintable() and notice.endswith(".") for notice in notices)
    assert sentences.read_lines("\n".join(lines)) == (lines, [])


def _grid(data, folder):
    rows = entered.grid_from_text(data.decode(errors="replace"))
    assert entered.grid_from_text(entered.grid_to_text(rows)) == rows
    assert bool(entered.grid(rows).pixels.isfinite().all())


def _drawing(data, folder):
    levels = entered.drawing_from_text(data.decode(errors="replace"))
    assert entered.drawing_from_text(entered.drawing_to_text(levels)) == levels
    assert entered.drawing(levels).pixels.shape == (1, 28, 28)


# ---- lessons ----

FACTS = {"max.output": lambda: 0.5, "average.output": lambda: 1e300, "mean.loudest": lambda: "cat"}


def lesson_seeds():
    """Those that come with poolviz."""
    return [path.read_bytes() for path in sorted(reading.SHIPPED.glob("*.toml"))]


def read_lesson(data, folder):
    """A lesson whose texts, conditions and answers can be used, or a sentence."""
    path = folder / "mine.toml"
    path.write_bytes(data)
    try:
        lesson = reading.read(path)
    except ValueError as error:
        told(error, ends="")
        return
    finally:
        path.unlink()
    f"{lesson.minutes}"  # as the card says it
    for step in lesson.steps:
        question = step.question
        with contextlib.suppress(MissingFactError):
            filled(step.text, FACTS)
        for given in ("0", "1", "0.5", "1-2", "x", "-1", "9" * 24) if question else ():
            try:
                question.is_right(given, FACTS)
            except MissingFactError:
                continue
            except ValueError:
                assert question.kind != "cell"


TARGETS = {
    "arrival": Target("a run that comes as a zip", run_seeds, arrive, mutate.change_zip),
    "folders": Target("folders of runs on the disk", folder_seeds, read_folder, mutate.change_zip),
    "links": Target("the addresses of all pages", link_seeds, open_link, mutate.change_address, 8_000),
    "images": Target("uploaded pictures", picture_seeds, upload, mutate.change_picture),
    "texts": Target("CoLA's TSV, typed lines, grids, drawings", text_seeds, read_text, mutate.change_bytes, 8_000),
    "lessons": Target("a teacher's lessons (TOML)", lesson_seeds, read_lesson, mutate.change_toml),
}
