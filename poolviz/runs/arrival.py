"""A run from somebody else: the zip of a run's folder is unpacked, checked file by file, and kept as a run of here.

What is wrong is told in one sentence, and then nothing is left behind: everything happens in a hidden folder beside
the runs, which becomes a run by one rename. Nothing here believes what a zip says of itself: sizes are counted as they
are read. `received.py` checks what is in the files. Knows nothing of pages. Imports no torch until a run comes.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import re
import secrets
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from poolviz.runs import store
from poolviz.runs.store import Run
from poolviz.training.config import RunConfig
from poolviz.training.folder import replace_json

KB, MB = 2**10, 2**20
MOST_PACKED = 256 * MB  # best and last weights of the default encoder are 180
MOST_UNPACKED = 320 * MB
MOST_ENTRIES = 20
MOST = {  # bytes of each file; a run has no others
    "config.json": 64 * KB,
    "environment.json": 64 * KB,
    "status.json": 64 * KB,
    "summary.json": MB,
    "metrics.jsonl": 8 * MB,  # a point each half second for five hours
    "predictions.parquet": 4 * MB,
    "best.safetensors": 160 * MB,
    "last.safetensors": 160 * MB,
    "log.txt": 4 * MB,
}
MOST_IMPORTED = 4 * 2**30  # bytes of all imported runs together
NEEDED = ("config.json", "status.json")
BLOCK = MB
CENTRAL = b"PK\x01\x02"  # begins each entry of a zip's list
SCRATCH = ".arriving-"
LEFT_BEHIND = 3600.0  # seconds after which a hidden folder belongs to a process that died
ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of an entry's flags
REPARSE_POINT = 0x400  # Windows' own kind of link
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # on Windows no file is called so
PLAIN_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)
UNPACKING = threading.Lock()  # a class may bring its runs at once: one at a time takes memory and disk


def arrive(packed: bytes) -> Run:
    """Keep the run in a zip; ValueError, one sentence, for anything wrong, and then nothing is kept."""
    try:
        with UNPACKING, _opened(packed) as archive:
            top, entries = _listed(archive)
            _check_room(sum(info.file_size for info in entries.values()))
            with scratch(store.runs_folder(), SCRATCH) as folder:
                return _checked(archive, top, entries, folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ValueError("The disk is full: delete old runs, then import it again.") from error
        raise ValueError(f"The run cannot be kept here: {error.strerror or type(error).__name__}.") from error
    except MemoryError as error:
        raise ValueError("There is not enough memory here to read this zip.") from error


@contextlib.contextmanager
def scratch(root: Path, prefix: str) -> Iterator[Path]:
    """A folder `run` in a hidden one in `root`; what is still there at the end is removed, and `root` if it is new.

    What a process that died left behind is removed too.
    """
    new = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    for old in root.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > LEFT_BEHIND:
                shutil.rmtree(old, ignore_errors=True)
    hidden = root / f"{prefix}{secrets.token_hex(8)}"
    folder = hidden / "run"  # one deeper: what has a config.json in `root` is a run
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # a run is in it
                root.rmdir()


# ---- the zip ----


def _opened(packed: bytes) -> zipfile.ZipFile:
    """The zip's list of entries, its length bounded before it is read."""
    if len(packed) > MOST_PACKED:
        raise ValueError(f"The zip has {len(packed):,} bytes; at most {MOST_PACKED:,} are read.")
    # weights may hold these four bytes by chance, but hardly a hundred times
    if packed.count(CENTRAL) > MOST_ENTRIES + 100:
        raise ValueError(f"The zip has more than {MOST_ENTRIES} entries: it is no run's folder.")
    try:
        return zipfile.ZipFile(io.BytesIO(packed))
    except Exception as error:  # zipfile raises almost anything on damaged bytes
        raise ValueError("This is no zip, or it is damaged: use a run's own download.") from error


def _listed(archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The top folder's name, empty where there is none, and the entry of each file."""
    infos = archive.infolist()
    if len(infos) > MOST_ENTRIES:
        raise ValueError(f"The zip has {len(infos):,} entries; a run's folder has at most {MOST_ENTRIES}.")
    tops, entries = set(), {}
    for info in infos:
        _check_entry(info)
        top, file = _parts(info)
        tops.add(top)
        if not file:
            continue
        if file in entries:
            raise ValueError(f"The zip holds {file} twice.")
        entries[file] = info
        if info.file_size > MOST[file]:
            raise ValueError(f"{file} would have {info.file_size:,} bytes; at most {MOST[file]:,} are read.")
    if len(tops) > 1:
        raise ValueError("The zip must hold one run: one folder, or its files alone.")
    for file in NEEDED:
        if file not in entries:
            raise ValueError(f"The zip holds no {file}: it is no run's folder.")
    size = sum(info.file_size for info in entries.values())
    if size > MOST_UNPACKED:
        raise ValueError(f"The files would have {size:,} bytes; at most {MOST_UNPACKED:,} are read.")
    return tops.pop(), entries


def _check_entry(info: zipfile.ZipInfo) -> None:
    """Refuse what is no plain file or folder, and what cannot be unpacked block by block."""
    said = _said(info)
    if info.flag_bits & ENCRYPTED:
        raise ValueError(f"{said} is encrypted: pack the run without a password.")
    mode = stat.S_IFMT(info.external_attr >> 16)
    is_folder = mode == stat.S_IFDIR or bool(info.external_attr & 0x10)
    named_folder = info.orig_filename.endswith("/")
    if mode not in PLAIN_KINDS or info.external_attr & REPARSE_POINT or is_folder and not named_folder:
        raise ValueError(f"{said} is a link or no plain file: a run's folder holds none.")
    if named_folder and info.file_size:
        raise ValueError(f"{said} is a folder that holds bytes of its own: the zip is damaged.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without a bound
        raise ValueError(f"{said} is packed in an uncommon way: use the usual one (deflate).")


def _parts(info: zipfile.ZipInfo) -> tuple[str, str]:
    """Top folder and file of an entry, either may be empty; ValueError for any other place."""
    name, said = info.orig_filename, _said(info)
    parts = name.removesuffix("/").split("/")
    odd = any(part in ("", ".", "..") for part in parts) or any(sign in name for sign in "\\:")
    if odd or not name.isprintable():
        raise ValueError(f"{said} is no name of a file in a run's folder.")
    if name.endswith("/") and len(parts) == 1:
        return parts[0], ""
    if name.endswith("/") or len(parts) > 2:
        raise ValueError(f"{said} is a folder within the run's folder, which has none.")
    if parts[-1] not in MOST:
        raise ValueError(f"{said} does not belong to a run: it may hold {', '.join(MOST)}.")
    return (parts[0] if len(parts) == 2 else ""), parts[-1]


def _said(info: zipfile.ZipInfo) -> str:
    return repr(info.orig_filename[:60])


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as source:
            while block := source.read(BLOCK):
                yield block
    except Exception as error:  # zipfile raises almost anything on damaged bytes
        raise ValueError(f"{_said(info)} is damaged in the zip: download the run again.") from error


def _unpack(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], folder: Path) -> None:
    """Write the files; what is read is counted, whatever the zip says."""
    for file, info in entries.items():
        left = info.file_size
        with (folder / file).open("xb") as target:
            for block in _blocks(archive, info):
                left -= len(block)
                if left < 0:
                    break
                target.write(block)
        if left:
            raise ValueError(f"{file} has another size than the zip says: download the run again.")


# ---- the run ----


def _check_room(more: int) -> None:
    """ValueError where as many imported runs are here as may be kept, or too many bytes of them with `more`."""
    from poolviz.runs.jobs import limits

    most = limits().kept
    sizes = {run: _size(run) for run in store.newest() if run.job.get("by") == "import"}
    if most and len(sizes) >= most:
        oldest = list(sizes)[-1].name
        raise ValueError(f"{len(sizes):,} imported runs are here, the most: delete one first, such as {oldest}.")
    if sum(sizes.values()) + more > MOST_IMPORTED:
        said = f"such as {max(sizes, key=sizes.__getitem__).name}" if sizes else "if there are any"
        raise ValueError(f"With this run, those imported take more than {MOST_IMPORTED:,} bytes: delete one, {said}.")


def _size(run: Run) -> int:
    """Bytes of its files; none of a run that is being deleted."""
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in run.folder.iterdir())
    return 0


def _checked(archive: zipfile.ZipFile, top: str, entries: dict[str, zipfile.ZipInfo], folder: Path) -> Run:
    """Unpack into `folder`, check, and move it to the runs."""
    from poolviz.runs import received

    _unpack(archive, entries, folder)
    config = received.check(folder)
    _refuse_known(Run(folder), config)
    replace_json(folder / "job.json", {"by": "import", "created": time.time()})
    fitting = store.NAME.fullmatch(top) and ".." not in top and not top.endswith(".") and not RESERVED.fullmatch(top)
    return _moved(folder, top if fitting else f"{config.task}-{config.pooling}-s{config.seed}")


def _refuse_known(run: Run, config: RunConfig) -> None:
    """ValueError where the run is here already: the same configuration and figures, or the same curve without any."""
    summary, curve = run.summary, run.metrics()
    for other in store.all_runs():
        try:
            same = other.config == config and other.ended and other.summary == summary
        except ValueError:  # a damaged folder is nobody's run
            continue
        if same and (summary or other.metrics() == curve):
            raise ValueError(f"This run is here already: {other.name}.")


def _moved(folder: Path, name: str) -> Run:
    """The run under its name, or with a number where that is taken."""
    for number in itertools.count(1):
        target = store.runs_folder() / (name if number == 1 else f"{name[:110]}-{number}")
        if os.path.lexists(target) or (store.SHIPPED / target.name).exists():
            continue
        try:
            os.rename(folder, target)
        except OSError:
            if os.path.lexists(target):  # somebody was quicker
                continue
            raise
        return Run(target)
    raise AssertionError("numbers do not end")
