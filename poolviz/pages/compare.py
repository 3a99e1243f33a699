"""Comparing: results of full runs over seeds, what two reports said of the same, and which of it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from poolviz.charts.entries import counted
from poolviz.charts.figure import Figure, numbers, picture
from poolviz.charts.handout import Block, Table
from poolviz.lessons.lesson import Facts
from poolviz.pages import link
from poolviz.pages.choose_results import Selection, choose_results
from poolviz.pages.claims import claims_csv, claims_view
from poolviz.pages.compare_charts import curves_view, tradeoff_view
from poolviz.pages.compare_errors import errors_view
from poolviz.pages.compare_parameters import PARAMS, VIEWS, key
from poolviz.pages.downloads import download_menu
from poolviz.pages.foot import foot
from poolviz.pages.frame import hand_out, tell
from poolviz.pages.handout import Handout
from poolviz.pages.leaderboard import board_csv, chosen, leaderboard, table
from poolviz.pages.parameters import bounds
from poolviz.pages.receive_run import receive_run
from poolviz.pages.report_file import SPREADS, report_file, turned
from poolviz.pages.share import view_link
from poolviz.pages.show import plain
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.pooling import POOLINGS
from poolviz.runs import store
from poolviz.runs.claims import CLAIMS, judged
from poolviz.runs.summary import standing

LOOK_EVERY = 2.0  # seconds, while a run goes on among those that are shown
MOST_NAMED = 20  # damaged folders
SHOWN: dict[str, Callable[[Selection], list[Figure]]] = {
    "leaderboard": leaderboard,
    "curves": curves_view,
    "tradeoff": tradeoff_view,
    "errors": errors_view,
    "claims": claims_view,
}


def page() -> None:
    """Draw the page once for the current widgets; the address is read first and written last."""
    link.restore(PARAMS)
    top = st.container()
    with st.sidebar:
        st.markdown("### poolviz  \nFull runs over several seeds, beside what two reports said.")
        selection = choose_results()
        receive_run()
        st.divider()
        foot()
    head, menu = st.columns([5, 1], vertical_alignment="center")
    with head:
        st.segmented_control(
            "Look at",
            list(VIEWS),
            format_func=VIEWS.get,
            required=True,
            label_visibility="collapsed",
            **bounds(key("view")),
        )
    tell(lambda _: _facts(selection))
    view = st.session_state[key("view")]
    if view == "claims" or selection.groups or selection.reported:
        figures = _section(view, selection)
        with menu:
            _save_menu(figures, selection)
    else:
        _nothing(selection)
    _damaged(selection)
    link.tell_notices(top)
    link.save(PARAMS, PARAMS)


def _section(view: str, selection: Selection) -> list[Figure]:
    """The view; while a run goes on, the page looks again by itself."""
    if selection.going and view != "claims":
        st.fragment(_look_again, run_every=LOOK_EVERY)(selection.going)
    return SHOWN[view](selection)


def _facts(selection: Selection) -> Facts:
    from poolviz.lessons.facts import comparison_facts

    return comparison_facts(selection.completed, judged(selection.evidence))


def _look_again(known: Mapping[str, tuple[str, int]]) -> None:
    for name, (state, epoch) in known.items():
        stand = standing(run) if (run := store.find(name)) else None
        if stand is None or stand.state != state or stand.last.get("epoch", 0) != epoch:
            st.rerun()


def _save_menu(figures: list[Figure], selection: Selection) -> None:
    title = f"poolviz: {TASK_NAMES[selection.task]}, {', '.join(selection.names)}"
    view, shown = st.session_state[key("view")], chosen(selection)  # a file is made later, outside of the session
    handout = _handout(view, figures, selection)
    hand_out(handout)
    download_menu(
        (lambda kind: picture(figures, title, kind)) if figures else None,
        lambda: _numbers(view, figures, selection, title),
        more=(("Report (HTML)", "poolviz.html", "text/html", lambda: report_file(selection, *shown)), handout.file()),
    )


def _handout(view: str, figures: list[Figure], selection: Selection) -> Handout:
    """The view's charts as a file, with its table; the report holds all views."""
    configs = [each.config for each in selection.groups]

    def shown() -> list[Block]:
        if view == "claims":
            return [Table("Computed from the completed runs", _verdicts(selection))]
        return [*figures, Table(SPREADS, turned(table(selection)))]

    return Handout(
        f"{VIEWS[view]}: {TASK_NAMES[selection.task]}",
        f"Compared: {', '.join(selection.names)}.",
        ", ".join(map(str, sorted({seed for each in selection.groups for seed in each.seeds}))) or "none",
        view_link(link.address(PARAMS, PARAMS)),
        shown,
        [name for name in dict.fromkeys(config.pooling for config in configs) if name in POOLINGS],
    )


def _verdicts(selection: Selection) -> list[dict[str, str]]:
    return [
        {"claim": f"{name} · {CLAIMS[name].title}", "verdict": finding.verdict, "reason": finding.reason}
        for name, finding in judged(selection.evidence).items()
    ]


def _numbers(view: str, figures: list[Figure], selection: Selection, title: str) -> bytes:
    """What the view shows, as CSV."""
    if view == "claims":
        return claims_csv(selection)
    return numbers(figures, title).encode() if view in ("curves", "errors") and figures else board_csv(selection)


def _nothing(selection: Selection) -> None:
    task = TASK_NAMES[selection.task]
    said = (
        f"No run of {task} fits what is chosen in the sidebar." if selection.elsewhere else f"No run of {task} is here."
    )
    st.info(plain(said), icon=":material/filter_alt_off:")
    st.caption("Runs are started on the page Train, with `python -m poolviz sweep`, or brought as a zip.")


def _damaged(selection: Selection) -> None:
    if not selection.damaged:
        return
    with st.expander(f"Skipped: {counted(len(selection.damaged), 'damaged folder')}", icon=":material/broken_image:"):
        for each in selection.damaged[:MOST_NAMED]:
            st.markdown(f"- **{plain(each.name)}**: {plain(each.why)}")
        if len(selection.damaged) > MOST_NAMED:
            st.caption(f"And {len(selection.damaged) - MOST_NAMED:,} more.")
