"""One run closely: what it gets wrong, which class it takes for which, its settings, footprint and files."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st
import torch
from PIL import Image

from poolviz.charts.confusion import PICK, confusion_figure, confusion_rows
from poolviz.inputs.picture import InputError
from poolviz.pages.show import plain, show_chart
from poolviz.pages.train_parameters import label_of
from poolviz.runs.commands import command_line
from poolviz.runs.store import Run
from poolviz.runs.summary import Standing, changed
from poolviz.training.config import CLASSES, RunConfig
from poolviz.training.data import look_up

MOST_SHOWN = 12  # examples
SHORT = 3  # letters of a class
# rows of twelve where there is room and the names are short, else of six: none is left with a few alone
STYLE = """<style>
.mistakes-place { container-type: inline-size; }
.mistakes { display: grid; grid-template-columns: repeat(6, minmax(0, 92px)); gap: 12px 14px; }
.mistakes figure { margin: 0; text-align: center; line-height: 1.25; }
.mistakes figcaption { margin-top: 3px; overflow-wrap: anywhere; }
.mistakes img { width: 100%; max-width: 76px; aspect-ratio: 1; image-rendering: pixelated; border-radius: 6px; }
.mistakes.short { grid-template-columns: repeat(6, minmax(0, 76px)); }
@container (max-width: 420px) { .mistakes, .mistakes.short { grid-template-columns: repeat(4, minmax(0, 92px)); } }
@container (min-width: 840px) { .mistakes.short { grid-template-columns: repeat(12, minmax(0, 76px)); } }
</style>"""


@st.cache_data(max_entries=64, show_spinner=False)
def _read_predictions(path: Path, modified_ns: int, classes: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    table = pd.read_parquet(path)
    numbers = {name for name, kind in table.dtypes.items() if kind.kind in "iuf"}
    fits = {"example", "label", "prediction", "confidence"} <= numbers
    if not fits or not table[["label", "prediction"]].isin(range(classes)).all(axis=None):
        raise ValueError("predictions.parquet holds something else than predictions.")
    return table, dict(table.attrs)


def predictions(run: Run) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """What the model says of each example, and of which split and epoch; None before the first epoch's end.

    None also where the file is damaged.
    """
    path = run.folder / "predictions.parquet"
    try:
        return _read_predictions(path, path.stat().st_mtime_ns, len(CLASSES[run.config.task]))
    except (OSError, ValueError):
        return None


@st.cache_data(max_entries=256, show_spinner=False)
def _examples(config: RunConfig, split: str, numbers: tuple[int, ...]) -> list[Any]:
    return look_up(config, split, numbers)


def show_mistakes(stand: Standing, pick: dict[str, Any] | None = None, wide: bool = False) -> None:
    """The surest mistakes, or the examples of a picked cell of the confusion matrix; `wide` where there is room."""
    found = predictions(stand.run)
    if found is None:
        later = "The first epoch's end shows which examples it still gets wrong."
        st.caption("It ended before its first epoch did: there is nothing to show." if stand.ended else later)
        return
    table, facts = found
    classes = CLASSES[stand.config.task]
    if pick is None:
        chosen = table[table.label != table.prediction]
        said = f"{len(chosen):,} of {len(table):,} {facts.get('split', '')} examples are wrong; the surest mistakes"
    else:
        chosen = table[(table.label == pick["truth"]) & (table.prediction == pick["said"])]
        right = "rightly " if pick["truth"] == pick["said"] else ""
        said = f"{len(chosen):,} examples of {classes[pick['truth']]} {right}taken for {classes[pick['said']]}"
    st.markdown(f"**{plain(said)}**" + (f", after epoch {facts['epoch']}" if facts.get("epoch") else ""))
    show_examples(stand.config, str(facts.get("split")), chosen, wide)


def show_examples(config: RunConfig, split: str, chosen: pd.DataFrame, wide: bool = False) -> None:
    """Those of which the model was surest, with the true class and what was said, looked up where the data is here."""
    if not len(chosen):
        st.caption("None.")
        return
    shown = chosen.sort_values("confidence", ascending=False).head(MOST_SHOWN)
    try:
        examples = _examples(config, split, tuple(shown.example.tolist()))
    except (InputError, IndexError) as error:
        st.caption(plain(f"The examples themselves are not at hand here: {error}"))
        return
    if config.is_text:
        _show_sentences(shown, examples, CLASSES[config.task], wide)
    else:
        _show_images(shown, examples, CLASSES[config.task])


def _show_images(shown: pd.DataFrame, images: list[torch.Tensor], classes: tuple[str, ...]) -> None:
    """Small pictures with the true class, what was said, and how sure it was; our own words and pixels alone."""
    parts = []
    for row, image in zip(shown.itertuples(), images, strict=True):
        truth, said = classes[row.label], classes[row.prediction]
        parts.append(
            f'<figure><img src="data:image/png;base64,{_png(image)}" alt="{truth}, taken for {said}">'
            f"<figcaption>{truth} → {said}<br><small>{row.confidence:.0%} sure</small></figcaption></figure>"
        )
    kind = "mistakes short" if max(map(len, classes)) <= SHORT else "mistakes"
    st.html(f"{STYLE}<div class='mistakes-place'><div class='{kind}'>{''.join(parts)}</div></div>")


def _png(image: torch.Tensor) -> str:
    """(H, W) in 0..1 as base64 of a PNG; the browser enlarges it without smoothing."""
    packed = io.BytesIO()
    Image.fromarray((image * 255).round().byte().numpy()).save(packed, "png")
    return base64.b64encode(packed.getvalue()).decode()


def _show_sentences(shown: pd.DataFrame, texts: list[str], classes: tuple[str, ...], wide: bool) -> None:
    lines = [
        f"{'✓' if row.label else chr(92) + '*'} {plain(text)}  \n"
        f":small[taken for {classes[row.prediction]}, {row.confidence:.0%} sure]"
        for row, text in zip(shown.itertuples(), texts, strict=True)
    ]
    half = (len(lines) + 1) // 2 if wide else len(lines)
    for place, part in zip(st.columns(2) if wide else [st.container()], (lines[:half], lines[half:]), strict=False):
        place.markdown("\n\n".join(part))


def show_confusion(stand: Standing) -> dict[str, Any] | None:
    """The confusion matrix; the cell that is picked in it."""
    found = predictions(stand.run)
    if found is None:
        return None
    table, facts = found
    classes = CLASSES[stand.config.task]
    rows = confusion_rows(table.label.tolist(), table.prediction.tolist(), classes)
    figure = confusion_figure(rows, classes)
    where = f"on the {facts.get('split', 'validation')} set, by the model of epoch {facts.get('epoch', '?')}"
    st.markdown(f"**{figure.heading}**, {where}  \n{figure.note}")
    event = show_chart(
        figure.builder,
        *figure.arguments,
        alt=figure.alt,
        width="content",
        select={"on_select": "rerun", "selection_mode": PICK, "key": f"confusion {stand.run.name}"},
        **figure.datasets,
    )
    picked = (event.selection.get(PICK) or []) if event else []
    clicked = picked[0] if picked and {"truth", "said"} <= set(picked[0]) else None
    return clicked or _choose_confusion(stand, rows)


def _choose_confusion(stand: Standing, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What a click on a cell does, for keys: the confusions, the most frequent first."""
    wrong = sorted((row for row in rows if row["count"] and not row["right"]), key=lambda row: -row["count"])
    if not wrong:
        return None
    named = {f"{row['class']} taken for {row['prediction']} ({row['count']:,})": row for row in wrong}
    chosen = st.selectbox(
        "Examples to show",
        list(named),
        index=None,
        placeholder="the surest mistakes; or choose a confusion",
        key=f"confused {stand.run.name}",
        width=320,
    )
    return named.get(chosen)


def show_facts(stand: Standing) -> None:
    """Settings, environment, footprint; the command that repeats the run, and its folder."""
    left, middle, right = st.columns(3)
    with left:
        settings = {"task": stand.config.task, "pooling": label_of(stand.config.pooling), **changed(stand.config)}
        _table("Settings, where not the task's own", settings)
    with middle:
        _table("Footprint", _footprint(stand))
    with right:
        _table("Where it ran", _environment(stand))
    st.markdown("**The same run from a terminal**, in the project's folder and its environment")
    st.code(command_line(stand.config), language="bash", wrap_lines=True)
    st.download_button(
        "Download the run's folder (zip)",
        stand.run.zipped,
        f"{stand.run.name}.zip",
        "application/zip",
        icon=":material/download:",
        on_click="ignore",
        key=f"zip {stand.run.name}",
    )


def _footprint(stand: Standing) -> dict[str, str]:
    measured = stand.peak_bytes
    estimate, count = stand.start.get("estimated_bytes"), stand.start.get("parameters")
    return {
        "learned parameters": f"{count:,}" if count else "not known yet",
        "estimate": f"{estimate / 1e6:,.1f} MB (activations of a batch, parameters)" if estimate else "not known yet",
        "measured": f"{measured / 1e6:,.0f} MB (the whole process at its largest)" if measured else "not known yet",
        "training": f"{stand.last.get('train_seconds', 0):.1f} s",
        "validation": f"{stand.epochs[-1].get('eval_seconds', 0):.1f} s" if stand.epochs else "not yet",
    }


def _environment(stand: Standing) -> dict[str, str]:
    known = stand.run.environment
    versions = known.get("versions") or {}
    return {
        "device": f"{known.get('device', 'not known yet')}",
        "processor": f"{known.get('processor', '')}",
        "threads of cores": f"{known.get('threads', '?')} of {known.get('cores', '?')}",
        **{name: versions[name] for name in ("torch", "transformers", "accelerate") if name in versions},
        "commit": str(known.get("commit") or "not known"),
    }


def _table(title: str, rows: dict[str, Any]) -> None:
    lines = [f"| {plain(name.replace('_', ' '))} | {plain(str(value))} |" for name, value in rows.items()]
    st.markdown(f"| {plain(title)} | |\n|---|---|\n" + "\n".join(lines))
