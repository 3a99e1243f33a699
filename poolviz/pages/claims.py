"""The two reports' claims: what was reported, our test, what the runs say, and a verdict computed from them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from poolviz.charts.figure import Figure
from poolviz.pages.choose_results import Selection
from poolviz.pages.compare_parameters import ORIGIN_NAMES, key
from poolviz.pages.show import plain
from poolviz.runs.claims import CLAIMS, judged
from poolviz.runs.evidence import FAILS, HOLDS, UNKNOWN, Claim, Finding, Part
from poolviz.runs.reported import REPORT_A, REPORT_B
from poolviz.runs.results import MEASURES

BADGES = {
    HOLDS: ("green", ":material/check_circle:"),
    FAILS: ("red", ":material/cancel:"),
    UNKNOWN: ("gray", ":material/help:"),
}
PLURAL = {HOLDS: "hold", FAILS: "do not hold", UNKNOWN: "cannot be told"}


def claims_view(selection: Selection) -> list[Figure]:
    """All claims; the one that the address names comes first and is open."""
    findings = judged(selection.evidence)
    counts = {verdict: sum(each.verdict == verdict for each in findings.values()) for verdict in BADGES}
    badges = " ".join(
        f":{BADGES[verdict][0]}-badge[{count} {PLURAL[verdict] if count > 1 else verdict}]"
        for verdict, count in counts.items()
        if count
    )
    st.markdown(
        f"{badges}  \nEvery verdict is computed from the completed runs that came with poolviz or were made here; "
        "imported ones do not count. Intervals are 95 % by Student's t over seeds, each for itself: of twenty such "
        "intervals one is expected to miss."
    )
    linked = CLAIMS.get(st.session_state[key("claim")] or "")
    if linked:
        _card(linked, findings[linked.name])
    for report, title in (("A", REPORT_A), ("B", REPORT_B)):
        st.markdown(f"#### {plain(title)}")
        for name, claim in CLAIMS.items():
            if claim.report == report and claim != linked:
                _card(claim, findings[name])
    return []


def claims_csv(selection: Selection) -> bytes:
    """A line a comparison of each claim, with the claim's verdict."""
    rows = [
        {"claim": name, "title": CLAIMS[name].title, "verdict of the claim": finding.verdict} | row
        for name, finding in judged(selection.evidence).items()
        for row in part_rows(finding)
    ]
    return pd.DataFrame(rows).to_csv(index=False).encode()


def _card(claim: Claim, finding: Finding) -> None:
    colour, icon = BADGES[finding.verdict]
    with st.container(border=True):
        badge = f":{colour}-badge[{icon} {finding.verdict}]"
        st.markdown(f"**{claim.name} · {plain(claim.title)}** {badge}  \n{plain(finding.reason)}")
        if claim.contradiction:
            st.caption(f":material/bolt: The report contradicts itself. {plain(claim.contradiction)}")
        with st.expander(
            "What was reported, our test, the evidence", expanded=st.session_state[key("claim")] == claim.name
        ):
            st.markdown(f"**Reported.** {plain(claim.said)}\n\n**Our test.** {plain(claim.test)}")
            st.dataframe(pd.DataFrame(part_rows(finding)), hide_index=True, width="stretch")
            _evidence(claim, finding)


def part_rows(finding: Finding) -> list[dict[str, Any]]:
    """A row a comparison: first those that decide."""
    rows = []
    for decides, parts in (("yes", finding.parts), ("no", finding.also)):
        rows += [
            {
                "comparison": part.label,
                "measure": part.measure.label,
                **_effect(part),
                "claimed": part.claimed,
                "verdict": part.verdict,
                "decides": decides,
                "runs": part.setting,
            }
            for part in parts
        ]
    return rows


def _effect(part: Part) -> dict[str, str]:
    if part.shown is None or part.effect is None:
        return {"effect": "", "95 % interval": part.why.partition(": ")[2], "n": ""}
    mean, low, high = part.shown
    unit = f" {part.unit}" if part.unit else ""
    none = "one seed: none" if part.effect.n == 1 else "none: these seeds do not vary"
    interval = none if low is None or high is None else f"{low:.4g} to {high:.4g}{unit}"
    paired = ", paired" if part.effect.paired and part.kind != "figure" else ""
    return {"effect": f"{mean:.4g}{unit}", "95 % interval": interval, "n": f"{part.effect.n}{paired}"}


def _evidence(claim: Claim, finding: Finding) -> None:
    here = urlencode({"view": "claims", "claim": claim.name})
    if not finding.runs:
        st.caption(f"No run counts yet. [A link to this claim](?{here})")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Open the {len(finding.runs)} runs",
            icon=":material/leaderboard:",
            key=f"evidence {claim.name}",
            on_click=_open,
            args=(finding,),
        )
        st.markdown(f"[A link to this claim](?{here})")


def _open(finding: Finding) -> None:
    """Show the deciding runs: on the leaderboard, or as curves where a claim is about a curve.

    Where none decides, those that stand beside it.
    """
    part = next(part for part in (*finding.parts, *finding.also) if part.runs)
    shown = finding.parts if part in finding.parts else (part,)
    groups = [group for part in shown for group in part.groups]
    values = {
        "task": groups[0].config.task,
        "size": str(groups[0].config.train_limit),
        "poolings": list(dict.fromkeys(group.config.pooling for group in groups)),
        "origins": list(ORIGIN_NAMES),
        "view": "leaderboard" if part.measure.name in MEASURES else "curves",
        "curve": "loss",
        "axis": "epoch",
        "hardware": None,
    }
    if part.measure.name in MEASURES:
        values |= {"measure": part.measure.name, "baseline": part.groups[-1].identity}
    for name, value in values.items():
        st.session_state[key(name)] = value
