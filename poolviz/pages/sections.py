"""What stands below a compact stage: contact sheet, draws, invariance and repetition, each in charts or pictures.

It is imported when one of these lenses is first chosen: the first paint does not wait for Altair.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
import torch
from torch import Tensor

from poolviz.charts import chance, compare, invariance, pictures
from poolviz.charts.colour import DIVERGING, PALETTES
from poolviz.charts.compare import Setting
from poolviz.charts.figure import Figure
from poolviz.charts.handout import Block, Picture, Pictures
from poolviz.charts.sheet import sheet_payload
from poolviz.charts.stage import common_range
from poolviz.pages import link
from poolviz.pages.answers_lens import answers_section
from poolviz.pages.choose_pooling import draw_again, temperature_slider
from poolviz.pages.components import mount_sheet
from poolviz.pages.handout import component
from poolviz.pages.parameters import DRAW_COUNTS, OPERATORS, bounds
from poolviz.pages.show import show_figure
from poolviz.pooling import POOLINGS, global_pool, windows2d

MOST_CHANNELS = 128  # on one contact sheet


def chance_section(values: Tensor, channel: int, setting: Setting, cell: tuple[int, int]) -> list[Block]:
    """Draws from the pinned cell's window, against exact probabilities."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        stochastic = [name for name in OPERATORS if POOLINGS[name].stochastic]
        name = st.selectbox(
            "Draw with", stochastic, format_func=lambda n: POOLINGS[n].label, width=260, **bounds("chance")
        )
        count = st.select_slider(
            "Number of draws", DRAW_COUNTS, format_func=lambda n: f"{n:,.0f}", width=360, **bounds("draws")
        )
        if st.button("Draw again", on_click=draw_again, icon=":material/casino:", key="again_below"):
            st.rerun()  # the stage above draws with the same seed
        temperature = 1.0
        if "temperature" in POOLINGS[name].uses:
            shown = any("temperature" in POOLINGS[other].uses for other in setting.operators)
            temperature = setting.temperature if shown else temperature_slider()
    window = windows2d(values[None, channel, None], **setting.geometry())
    cells = window.values[0, 0][cell][window.valid[cell]]
    draws = chance.draw_window(cells, name, int(count), setting.seed, temperature)
    if draws is None:
        st.info(
            f"The window of output {cell} holds no positive cell: there is nothing to draw from and the output is 0. "
            "Click another cell in the pictures above."
        )
        return []
    columns = st.columns(3, gap="medium")
    figures = _draw_figures(draws, f"{count:,.0f} draws from the window of {cell}") if draws.deviation else []
    if not figures:
        columns[0].info("One cell has all the probability, or all cells are equal: every draw gives the same.")
    figures.append(_temperature(cells, temperature))
    for column, figure in zip(columns[-len(figures) :], figures, strict=True):
        with column:
            show_figure(figure)
    return [f"{POOLINGS[name].label}, {count:,.0f} draws, seed {setting.seed}, temperature {temperature:g}", *figures]


def _draw_figures(draws: chance.Draws, heading: str) -> list[Figure]:
    return [
        Figure(
            heading,
            "bars: share of the draws, ticks: probability",
            "Share of the draws that fell on each cell of the window, beside its exact probability",
            chance.frequency_chart,
            datasets={"frequency": chance.frequency_rows(draws)},
        ),
        Figure(
            f"Mean of draws {float(draws.means[-1]):.4g}, expectation {draws.expectation:.4g}",
            "line: their distance, dashed: σ/√N, the size to expect",
            "Distance of the mean of N draws from the expectation against one over the square root of N",
            chance.convergence_chart,
            datasets={"convergence": chance.convergence_rows(draws)},
        ),
    ]


def _temperature(cells: Tensor, temperature: float) -> Figure:
    x = cells[None, None]
    marks = [
        {"name": POOLINGS[name].label.lower(), "output": float(global_pool(x, name))} for name in ("max", "average")
    ]
    now = float(global_pool(x, "softpool", temperature=temperature))
    return Figure(
        f"Softmax weights at T = {temperature:g} give {now:.4g}",
        "from max (cold) to average (hot)",
        "Softmax-weighted output of the window from low temperature, its maximum, to high, its average",
        chance.temperature_chart,
        datasets={
            "temperature": chance.temperature_rows(cells),
            "marks": marks,
            "now": [{"temperature": temperature, "output": now}],
        },
    )


def invariance_section(values: Tensor, channel: int, setting: Setting, cell: tuple[int, int]) -> list[Block]:
    """Change of the outputs under shifts and under noise."""
    widest = max(2, min(16, values.shape[-1] - 1))  # a slider needs two ends, a 2 x 2 map allows one step
    link.clamp("shift", widest, told=False)
    most = int(st.slider("Move the input by up to (cells)", 1, widest, width=360, **bounds("shift")))
    x = values[None, channel, None]
    figures = [
        Figure(
            "Shift test",
            "0 % would be perfect invariance; “None” is the change of the map itself",
            "Relative change of each operator's output against the shift of the input",
            invariance.shift_chart,
            (setting.operators,),
            {"shift": _finite(invariance.shift_rows(x, setting, most))},
        ),
        Figure(
            "Noise test",
            "mean of five noise seeds, band from the least to the greatest",
            "Relative change of each operator's output against the level of noise",
            invariance.noise_chart,
            (setting.operators,),
            {"noise": _noise(x, setting)},
        ),
    ]
    for column, figure in zip(st.columns(2, gap="medium"), figures, strict=True):
        with column:
            show_figure(figure)
    note = "Change = ‖output after − output before‖ / ‖output before‖."
    st.caption(note)
    return [*figures, note]


@st.cache_data(max_entries=512, show_spinner=False, hash_funcs={Tensor: lambda x: (x.shape, x.numpy().tobytes())})
def _noise(x: Tensor, setting: Setting) -> list[dict]:
    """140 poolings for four operators: a shift that changes does not change them, and a class looks at the same."""
    return _finite(invariance.noise_rows(x, setting))


def _finite(rows: list[dict]) -> list[dict]:
    return [row for row in rows if torch.tensor(row["change"]).isfinite()]


def repeat_section(values: Tensor, channel: int, setting: Setting, cell: tuple[int, int]) -> list[Block]:
    """The same operator again and again, in pictures."""
    times = int(st.slider("Apply it again, up to (times)", 1, 8, width=360, **bounds("times")))
    series = {name: compare.repeated(values[channel], setting, name, times) for name in setting.operators}
    value_range = common_range([each for maps in series.values() for each in maps])
    ramp = DIVERGING if value_range[0] < 0 else PALETTES[st.session_state["palette"]]
    note = f"All pictures on one colour scale, {value_range[0]:.4g} to {value_range[1]:.4g}."
    st.caption(note)
    blocks: list[Block] = [note]
    for name, maps in series.items():
        sizes = " → ".join(f"{m.shape[0]} × {m.shape[1]}" for m in maps)
        st.markdown(f"**{POOLINGS[name].label}**: {sizes}")
        row = [
            Picture(
                f"{turn} ×" if turn else "input",
                pictures.picture_url(pictures.Tile("", "", each, value_range, ramp), 150),
            )
            for turn, each in enumerate(maps)
        ]
        with st.container(horizontal=True):
            for each in row:
                st.image(each.url, width=150, caption=each.caption, alt=f"{POOLINGS[name].label}, {each.caption}")
        blocks += [f"{POOLINGS[name].label}: {sizes}", Pictures(row)]
    if any(len(maps) <= times for maps in series.values()):
        st.caption("A row stops where the window no longer fits into the map.")
    return blocks


def channels_section(values: Tensor, channel: int, setting: Setting, cell: tuple[int, int]) -> list[Block]:
    """Contact sheet of the map's channels; a click chooses one."""
    if len(values) == 1:
        st.info("This map has one channel. Choose edge or Gabor filters, or a network's layer, in the sidebar.")
        return []
    shown = values[:MOST_CHANNELS]
    note = f"; the first {MOST_CHANNELS} are shown" if len(values) > MOST_CHANNELS else ""
    st.caption(f"{len(values)} channels on one colour scale{note}. Click one to choose it.")
    data = sheet_payload(shown, channel, st.session_state["palette"])
    result = mount_sheet(data=data, key="sheet", on_channel_change=_choose_channel)
    if result.channel is not None:  # an event, present in the run of its click alone
        st.rerun()
    words = f"{len(shown)} of {len(values)} channels on one colour scale"
    return [words, component("sheet", words, data)]


def _choose_channel() -> None:
    st.session_state["channel"] = int(st.session_state["sheet"]["channel"])


# each shows its section and returns what a handout shows of it
SECTIONS: dict[str, Callable[[Tensor, int, Setting, tuple[int, int]], list[Block]]] = {
    "channels": channels_section,
    "chance": chance_section,
    "invariance": invariance_section,
    "repeat": repeat_section,
    "answers": answers_section,
}
