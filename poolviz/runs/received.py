"""The files of a run that came from somebody else, each checked and written anew in our own form.

Only what a run of here would have written stays: JSON is read strictly and written from the values, predictions are
written from their numbers, so no metadata of the sender is read again. Weights are kept as they came once their header
is found plain: tensors and a few facts, no pickle. Every fault is a ValueError of one sentence that names the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolviz.runs import networks, parquet_apart, results
from poolviz.runs.plausible import check_epochs, check_figures, check_judgement
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, RunConfig
from poolviz.training.folder import ENDED

if TYPE_CHECKING:
    import numpy as np

TEXTS = ("device", "processor", "python", "system", "commit")  # of environment.json
WHOLES = ("cores", "threads")
PARTS = ("best", "last", "test", "fit")  # of summary.json
KINDS = ("start", "step", "epoch")  # of a curve's lines
SPLITS = ("validation", "test")
COLUMNS = ("example", "label", "prediction", "confidence")
MOST_TEXT = 200  # characters
MOST_REASON = 300
MOST_ITEMS = 100  # of a list or an object
DEEPEST = 4
MOST_LINES = 200_000
MOST_LINE = 8192  # bytes
MOST_STEP = 10**9
MOST_ROWS = 200_000
MOST_EXAMPLE = 10**7
MOST_HEADER = 2**20  # bytes of safetensors' header
MOST_TENSORS = 2000
NEWER = "a newer poolviz may have made it"


def check(folder: Path) -> RunConfig:
    """Check every file of a run and write it anew; its configuration."""
    config = _config(folder / "config.json")
    _rewrite(folder / "status.json", _status)
    _rewrite(folder / "environment.json", environment)
    _rewrite(folder / "summary.json", lambda given: _summary(given, config))
    for name, change in (("metrics.jsonl", lambda data: _curve(data, config)), ("log.txt", _log)):
        path = folder / name
        if path.is_file():
            path.write_bytes(change(path.read_bytes()))
    table = folder / "predictions.parquet"
    split = _predictions(table, config) if table.is_file() else ""
    for path in folder.glob("*.safetensors"):
        _weights(path, config)
    _check_end(Run(folder), split)
    return config


def _check_end(run: Run, split: str) -> None:
    """What several files tell of how the run ended is the same; `split`: of its predictions, empty without any."""
    found = results.read(run)
    most = found.config.epochs
    if found.state == "completed" and found.epoch < most and not found.early:
        raise ValueError(f"The run is completed with {found.epoch:,} of {most:,} epochs and does not say why.")
    judged = "test" if run.summary.get("test") else "validation"
    if split and split != judged:
        raise ValueError(f"predictions.parquet is of the {split} set, but by the summary it must be of {judged}.")


# ---- JSON ----


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if path.is_file():
        content = change(_object(path.read_bytes(), path.name))
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _object(data: bytes, where: str) -> dict[str, Any]:
    """One JSON object without NaN or infinities."""

    def refuse(word: str) -> None:
        raise OverflowError(word)

    try:
        content = json.loads(data.decode("utf-8"), parse_constant=refuse)
    except OverflowError:
        raise ValueError(f"{where} holds a figure that is no number.") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is no JSON.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where} must be one JSON object.")
    return content


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_TEXT and (value.isprintable())


def _config(path: Path) -> RunConfig:
    """The configuration; a field or value that is not known here is named."""
    from poolviz.pooling.functional import operator

    given = _object(path.read_bytes(), path.name)
    unknown = sorted(set(given) - {field.name for field in fields(RunConfig)})
    if unknown:
        raise ValueError(f"config.json has a field that is not known here, {unknown[0][:60]!r}: {NEWER}.")
    try:
        config = RunConfig.from_dict(given)
        operator("config.json", config.pooling, sequences=config.is_text)
    except ValueError as error:
        text = " ".join(str(error).split()).removeprefix("config.json: ").rstrip(".")
        raise ValueError(f"config.json cannot be used, or {NEWER}: {text[:400]}.") from None
    path.write_text(config.to_json() + "\n", encoding="utf-8")
    return config


def _status(given: dict[str, Any]) -> dict[str, Any]:
    """State and reason alone: no host, no process."""
    state, reason = given.get("state"), given.get("reason", "")
    if state not in ENDED:
        raise ValueError("status.json tells of a run that has not ended: import it when it has.")
    if not isinstance(reason, str):
        raise ValueError("status.json must give its reason as text.")
    words = "".join(sign if sign.isprintable() else " " for sign in reason[: 2 * MOST_REASON]).split()
    return {"state": state, "reason": " ".join(words)[:MOST_REASON]}


def environment(given: dict[str, Any]) -> dict[str, Any]:
    """What a figure needs beside it, and nothing that tells whose machine it was."""
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if name == "versions":
            pairs = value.items() if isinstance(value, dict) and len(value) <= MOST_ITEMS else [(None, None)]
            right = all(_is_text(package) and _is_text(version) for package, version in pairs)
        elif name in TEXTS:
            right = _is_text(value)
        elif name in WHOLES:
            right = _is_count(value, 10**6)
        else:
            right = value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)
        if not right:
            raise ValueError(f"environment.json holds something under {name[:60]!r} that is no plain value.")
        if name in (*TEXTS, *WHOLES, "versions"):
            kept[name] = value
    return kept


def _summary(given: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    """Figures as the loop leaves them; other plain values may be among them."""
    count = len(CLASSES[config.task])
    if not _is_plain(given, DEEPEST):
        raise ValueError("summary.json holds something that is neither a short text nor a finite number.")
    for name in PARTS:
        part = given.get(name, {})
        numbers = isinstance(part, dict) and all(
            value is None or _is_number(value) for key, value in part.items() if key != "confusion"
        )
        table = part.get("confusion", [[0] * count] * count) if isinstance(part, dict) else None
        if not (numbers and _is_table(table, count, count)):
            raise ValueError(f"summary.json must hold figures and {count} x {count} counts under {name!r}.")
        check_figures(part, f"summary.json, {name},")
        check_judgement(part, f"summary.json, {name},")
    labels = given.get("labels", {})
    if not (isinstance(labels, dict) and _is_table(list(labels.values()), len(labels), count)):
        raise ValueError(f"summary.json must hold {count} counts for each split under 'labels'.")
    if given.get("classes", list(CLASSES[config.task])) != list(CLASSES[config.task]):
        raise ValueError(f"summary.json names other classes than {config.task} has.")
    progress = given.get("progress", {})
    if not isinstance(progress, dict) or not all(
        isinstance(value, str) if name == "stopped" else value is None or _is_number(value)
        for name, value in progress.items()
    ):
        raise ValueError("summary.json must hold figures under 'progress'.")
    check_figures(progress, "summary.json, progress,")
    check_figures(given, "summary.json")
    return given


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, dict | list) and (depth == 0 or len(value) > MOST_ITEMS):
        return False
    if isinstance(value, dict):
        return all(_is_text(key) and _is_plain(item, depth - 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_plain(item, depth - 1) for item in value)
    return value is None or isinstance(value, bool) or _is_number(value) or _is_text(value)


def _is_table(value: Any, rows: int, columns: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == rows
        and all(isinstance(row, list) and len(row) == columns for row in value)
        and all(_is_count(item, MOST_EXAMPLE) for row in value for item in row)
    )


# ---- lines ----


def _curve(data: bytes, config: RunConfig) -> bytes:
    """The lines of a curve; what follows the last line break is torn and left out."""
    if data.count(b"\n") > MOST_LINES:
        raise ValueError(f"metrics.jsonl has more than {MOST_LINES:,} lines.")
    lines = data.split(b"\n")[:-1]
    rows = [_line(line, f"Line {number:,} of metrics.jsonl") for number, line in enumerate(lines, 1)]
    check_epochs(rows, config.epochs, "metrics.jsonl")
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _line(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > MOST_LINE:
        raise ValueError(f"{where} is longer than {MOST_LINE:,} bytes.")
    row = _object(line, where)
    if row.get("kind") not in KINDS:
        raise ValueError(f"{where} is of no kind that is known here: {NEWER}.")
    for name, value in row.items():
        if not (name == "kind" or value is None or _is_number(value)) or not _is_text(name):
            raise ValueError(f"{where} holds something under {name[:60]!r} that is no finite number.")
    for name in ("step", "epoch")[: 1 if row["kind"] == "start" else 2]:
        if not _is_count(row.get(name), MOST_STEP):
            raise ValueError(f"{where} must say its {name} as a whole number.")
    check_figures(row, where)
    return row


def _log(data: bytes) -> bytes:
    """Text for people; signs that steer a terminal are left out."""
    if b"\0" in data:
        raise ValueError("log.txt is no text.")
    text = data.decode("utf-8", errors="replace")  # Windows writes others
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t").encode()


# ---- tables and weights ----


def _predictions(path: Path, config: RunConfig) -> str:
    """Four columns of numbers, and which split and epoch they are of; written anew. The split."""
    import pandas as pd

    table, about = parquet_apart.columns(path.read_bytes(), COLUMNS, MOST_ROWS)
    _check_columns(table, len(CLASSES[config.task]))
    kinds = {"example": "int32", "label": "int16", "prediction": "int16", "confidence": "float32"}
    kept = pd.DataFrame({name: table[name].astype(kind) for name, kind in kinds.items()})
    kept.attrs = _facts(about)
    kept.to_parquet(path, index=False)
    return kept.attrs["split"]


def _check_columns(table: Mapping[str, np.ndarray], classes: int) -> None:
    """Kinds and ranges."""
    import numpy as np

    highest = {"example": MOST_EXAMPLE, "label": classes - 1, "prediction": classes - 1, "confidence": 1}
    for name, high in highest.items():
        numbers = table[name]
        if numbers.dtype.kind not in ("f" if name == "confidence" else "iu"):
            raise ValueError(f"predictions.parquet must hold numbers under {name!r}, one a row.")
        if not ((numbers >= 0) & (numbers <= high)).all():  # NaN is neither
            raise ValueError(f"predictions.parquet must hold values from 0 to {high:,} under {name!r}.")
    if len(np.unique(table["example"])) != len(table["example"]):
        raise ValueError("predictions.parquet holds an example twice.")


def _facts(data: bytes) -> dict[str, Any]:
    """Of which split the predictions are, after which epoch."""
    facts = _object(data, "What predictions.parquet says of itself")
    if facts.get("split") not in SPLITS or not _is_count(facts.get("epoch"), MOST_STEP):
        raise ValueError("predictions.parquet does not say of which split and epoch it is.")
    return {name: facts[name] for name in ("split", "epoch")}


def _weights(path: Path, config: RunConfig) -> None:
    """Tensors of the run's own network whose sizes add up to the file's (safetensors sees to that), and plain facts."""
    from safetensors import safe_open

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MOST_HEADER:
        raise ValueError(f"{path.name} has a header of {length:,} bytes; at most {MOST_HEADER:,} are read.")
    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            count = len(file.keys())
    except Exception as error:  # it raises its own kind, OSError and others
        raise ValueError(f"{path.name} is no file of weights, or it is damaged.") from error
    if not 0 < count <= MOST_TENSORS:
        raise ValueError(f"{path.name} must hold 1 to {MOST_TENSORS:,} tensors of plain numbers.")
    facts = _object(about.get("facts", "{}").encode("utf-8", "replace"), f"What {path.name} says of itself")
    if set(about) - {"facts", "format"} or not _is_plain(facts, 1) or len(about.get("format", "")) > 20:
        raise ValueError(f"{path.name} must hold plain facts beside its tensors.")
    networks.check_weights(path, config, path.name)
