"""Below the stage: output size with its formula, overlap, padding, and the operators' formulas."""

from __future__ import annotations

import streamlit as st

from poolviz.charts.compare import Setting
from poolviz.pooling import POOLINGS, WindowGrid
from poolviz.pooling.measure import coverage


def show_facts(grid: WindowGrid, setting: Setting) -> None:
    """Three short facts on the windows, then each operator's formula and source."""
    st.divider()
    size, overlap, padding = st.columns([3, 2, 2], gap="medium")
    with size:
        st.markdown("**Output size**")
        st.latex(_size_formula(grid, 0, setting.ceil_mode))
        if grid.size[0] != grid.size[1]:
            st.caption("for rows, and for columns:")
            st.latex(_size_formula(grid, 1, setting.ceil_mode))
    overlap.markdown(f"**Where windows overlap**  \n{_overlap(grid)}")
    padding.markdown(f"**What padding adds**  \n{_padding(grid, setting)}")
    with st.expander("The operators: formula and source"):
        for name in setting.operators:
            pooling = POOLINGS[name]
            st.markdown(f"**{pooling.label}** · {pooling.paper}")
            st.latex(pooling.formula)
            if not pooling.is_weighted_sum:
                st.caption("Not a weighted sum: the bars show its effective gradient, d output / d cell.")


def _size_formula(grid: WindowGrid, axis: int, ceil_mode: bool) -> str:
    length, k, s, p, d, out = (
        field[axis]
        for field in (grid.size, grid.kernel_size, grid.stride, grid.padding, grid.dilation, grid.output_size)
    )
    left, right = (r"\lceil", r"\rceil") if ceil_mode else (r"\lfloor", r"\rfloor")
    fraction = rf"\frac{{{length} + 2 \cdot {p} - {d} \cdot ({k} - 1) - 1}}{{{s}}}"
    room = length + 2 * p - d * (k - 1) - 1
    whole = (-(-room // s) if ceil_mode else room // s) + 1
    dropped = r" - 1\ \text{(begins in the padding)}" if out < whole else ""
    return rf"\left{left} {fraction} \right{right} + 1{dropped} = {out}"


def _overlap(grid: WindowGrid) -> str:
    counts = coverage(grid)
    low, high = int(counts.min()), int(counts.max())
    if high == 1 and low == 1:
        return "Nowhere: every cell is seen by exactly one window."
    skipped = float((counts == 0).double().mean())
    parts = []
    if high > 1:
        shared = float((counts > 1).double().mean())
        parts.append(f"{shared:.0%} of the cells are seen by more than one window, by up to {high}.")
    if skipped:
        parts.append(f"{skipped:.0%} of the cells are seen by none.")
    return " ".join(parts)


def _padding(grid: WindowGrid, setting: Setting) -> str:
    outside = int((~grid.inside()).sum())
    if not outside:
        return "Nothing: every window lies inside the map."
    windows = int((~grid.inside().flatten(2).all(dim=-1)).sum())
    said = f"{windows:,} of {grid.output_size[0] * grid.output_size[1]:,} windows reach out of the map. "
    if setting.count_include_pad:
        return said + "Average counts the missing cells as zeros; in the other operators they never count."
    return said + "The missing cells never win and never count."
