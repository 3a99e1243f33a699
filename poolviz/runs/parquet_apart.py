"""A stranger's parquet file is read in a process of its own, for some damaged ones end the process that reads them.

pyarrow does not make an exception of Python's out of every one of C++: a codec that it does not know, or a histogram
of another length, calls std::terminate, which no `except` stops (seen in pyarrow 26.0.1). The process also has bounds
on its memory and its time. Knows nothing of runs.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
SECONDS = 20
MEMORY = 4 * 2**30  # bytes of addresses, of which the libraries' own take more than half
REFUSED = 3  # exit code; a sentence stands on stdout
DAMAGED = "predictions.parquet is damaged: it cannot be read."
ABOUT = "about"  # what the file says of itself, beside the columns


def columns(data: bytes, names: Sequence[str], most_rows: int) -> tuple[Mapping[str, np.ndarray], bytes]:
    """The columns `names` of a file that has these and no others, and what pandas' attributes say of it (JSON).

    ValueError, in a sentence, for a file that is damaged, holds something else, or more than `most_rows` rows.
    """
    import numpy as np

    command = [sys.executable, "-m", __name__, str(most_rows), *names]
    try:
        done = subprocess.run(command, cwd=PROJECT, input=data, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(DAMAGED) from None
    if done.returncode == REFUSED:
        raise ValueError(done.stdout.decode())
    if done.returncode:
        raise ValueError(DAMAGED)
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as found:
        return {name: found[name] for name in names}, found[ABOUT].tobytes()


def _read(data: bytes, names: Sequence[str], most_rows: int) -> bytes:
    """The same within the process, packed for the way; ValueError in a sentence."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from poolviz.runs.pages_of_parquet import check_pages

    file = pq.ParquetFile(pa.BufferReader(data), thrift_string_size_limit=2**20, thrift_container_size_limit=10_000)
    if file.schema_arrow.names != list(names):
        raise ValueError(f"predictions.parquet must have the columns {', '.join(names)} and no others.")
    check_pages(data, file.metadata, most_rows)
    table = file.read(use_threads=False)
    for name in names:
        if table[name].null_count:
            raise ValueError(f"predictions.parquet must hold numbers under {name!r}, one a row.")
    about = (file.schema_arrow.metadata or {}).get(b"PANDAS_ATTRS", b"{}")
    packed = io.BytesIO()
    arrays = {name: table[name].to_numpy() for name in names} | {ABOUT: np.frombuffer(about, np.uint8)}
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _bound() -> None:
    """Less memory and time than a file could ask for; Windows has no such bounds."""
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main(most_rows: str, *names: str) -> int:
    _bound()
    try:
        sys.stdout.buffer.write(_read(sys.stdin.buffer.read(), names, int(most_rows)))
    except Exception as error:  # pyarrow raises OSError and others on damaged bytes
        told = str(error)
        print(told if isinstance(error, ValueError) and told.startswith("predictions.parquet") else DAMAGED, end="")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
