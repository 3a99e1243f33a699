"""Comparing in a real browser: files that are brought and taken away, links, and labels that change under one's hands.

One server with a folder of made-up runs of known figures serves the file; nothing trains.
"""

import io
import os
import re
import shutil
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from poolviz.runs.store import Run
from tests.browser.conftest import Tab
from tests.server import ROOT, Server
from tests.test_page_compare import DIGITS, a_run, packed, plausible

NAMES = ("max", "average", "none")
pytestmark = pytest.mark.browser

ENDED = "[data-testid=stMain] [data-testid=stVegaLiteChart]"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare") / "runs"
    for pooling, error in DIGITS.items():
        for seed in range(3):
            a_run(root=root, pooling=pooling, seed=seed, error=error + seed / 1000, name=f"d-{pooling}-{seed}")
    for pooling, error in (("max", 0.009), ("average", 0.012), ("none", 0.010)):
        for seed in range(2):
            a_run("mnist", root=root, pooling=pooling, seed=seed, error=error + seed / 1e4, name=f"m-{pooling}-{seed}")
    return root


@pytest.fixture(scope="module")
def server(runs):
    # what is shipped grows with time: this server has none of it
    code = [
        "from pathlib import Path",
        "from poolviz.runs import store",
        f"store.SHIPPED = Path({str(runs)!r}) / 'none'",
    ]
    (runs.parent / "sitecustomize.py").write_text("\n".join(code))
    path = os.pathsep.join((str(runs.parent), str(ROOT)))
    environment = {"POOLVIZ_RUNS": str(runs), "POOLVIZ_DATA": "", "PYTHONPATH": path}
    started = Server(runs.parent / "app.log", **environment).wait()
    yield started
    started.stop()


@pytest.fixture
def tab(chromium, server):
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    opened = Tab(context, server.url)
    yield opened
    broken = opened.page.get_by_test_id("stException").count()
    problems, outside = opened.problems, opened.outside
    context.close()
    assert (broken, problems, outside) == (0, [], [])


def look(tab, query=""):
    tab.page.goto(f"{tab.url}compare{query}")
    tab.page.get_by_test_id("stSegmentedControl").or_(tab.page.get_by_text("Leaderboard")).first.wait_for(
        timeout=60_000
    )
    tab.idle()
    return tab.page


def view(tab, name):
    tab.page.get_by_test_id("stMain").get_by_role("radio", name=name).or_(
        tab.page.get_by_test_id("stMain").get_by_role("button", name=name, exact=True)
    ).first.click()
    tab.idle()


def chosen(page, label):
    """What a select box shows."""
    return page.get_by_test_id("stSelectbox").filter(has_text=label).get_by_role("combobox").input_value()


def pick(tab, label, option):
    tab.page.get_by_test_id("stSelectbox").filter(has_text=label).get_by_role("combobox").click()
    tab.page.get_by_role("option", name=option, exact=True).click()
    tab.idle()


def query(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query, keep_blank_values=True).items()}


def alt(page, number=0):
    return page.locator(ENDED).nth(number).get_attribute("aria-label")


def test_a_first_look_and_the_charts_in_words(tab):
    page = look(tab, "?task=digits")
    page.locator(f"{ENDED} .mark-symbol.role-mark path").first.wait_for()
    assert alt(page).startswith("Test error, best first: Average 4.10 %")
    assert "Average −1.00 points" in alt(page, 1) and "paired, n 3" in alt(page, 1)


def test_what_is_chosen_stays_while_runs_come_and_go(tab, runs):
    page = look(tab, "?task=mnist")
    pick(tab, "Baseline", "None")
    page.wait_for_url(re.compile("baseline=none-"))
    before = query(page)
    assert "task" not in before and before["baseline"].startswith("none-")  # MNIST is what the page begins with

    def rerun():
        for name in ("Imported", "Imported"):
            page.get_by_test_id("stSidebar").get_by_role("button", name=name).click()
            tab.idle()
            found = query(page)
            assert "task" not in found and found["baseline"] == before["baseline"], name

    # titles tell now in what groups differ
    new = [
        a_run("mnist", root=runs, pooling=pooling, learning_rate=0.01, seed=seed, name=f"rate-{pooling}-{seed}")
        for pooling in ("none", "max", "lp", "average", "mixed")
        for seed in range(2)
    ]
    try:
        rerun()
        page.get_by_text("16 runs of 25 here").wait_for()
        assert chosen(page, "Baseline") == "None · learning rate 0.001"
    finally:
        for run in new:
            shutil.rmtree(run.folder)
    rerun()
    page.get_by_text("6 runs of 15 here").wait_for()
    assert chosen(page, "Baseline") == "None" and chosen(page, "Task") == "MNIST (28 × 28)"


def test_no_origin_at_all_stays_so_after_a_reload(tab):
    page = look(tab, "?task=digits&origins=")
    page.get_by_text("No run of Digits").wait_for()
    page.reload()
    page.get_by_text("No run of Digits").wait_for()


def test_a_claims_link_opens_it_and_its_evidence_opens_the_runs(tab):
    page = look(tab, "?view=claims&claim=B3")
    ours = page.get_by_text("Our test.").locator("visible=true")
    ours.wait_for()
    assert ours.count() == 1
    with page.expect_popup() as opened:
        page.get_by_role("link", name="A link to this claim").locator("visible=true").click()
    assert opened.value.url.endswith("/compare?view=claims&claim=B3")
    opened.value.close()
    page.get_by_role("button", name="Open the 6 runs").locator("visible=true").click()
    page.get_by_text("Test error: difference to").wait_for()
    tab.idle()
    assert query(page) | {"claim": "B3"} == query(page)
    assert query(page)["poolings"] == "none,max,average" and "measure" not in query(page), "the usual one"
    assert "As reported" in page.get_by_test_id("stMain").inner_text()


def test_runs_are_brought_as_a_zip_good_or_hostile(tab, runs):
    page = look(tab, "?task=digits")
    other = plausible(a_run(root=runs.parent / "elsewhere", pooling="lp", seed=0, wrong=range(3), name="theirs"))
    page.get_by_text("Bring a run").click()
    given = page.get_by_test_id("stFileUploaderDropzoneInput")
    evil = packed({"../../evil": "x"})
    given.set_input_files({"name": "evil.zip", "mimeType": "application/zip", "buffer": evil})
    page.get_by_text("is no name of a file in a run's folder").wait_for()
    given.set_input_files({"name": "run.zip", "mimeType": "application/zip", "buffer": Run(other.folder).zipped()})
    page.get_by_text("theirs is among the runs of Digits (8 × 8) now").wait_for()
    tab.idle()
    page.get_by_text("10 runs of 16 here").wait_for()
    assert "Lp 7.50 %" in alt(page)
    shutil.rmtree(runs / "theirs")


def test_table_and_report_are_taken_away(tab, chromium):
    page = look(tab, "?task=mnist")

    def take(label):
        page.get_by_role("button", name="Save").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=label).click()
        page.keyboard.press("Escape")
        return download.value.path()

    text = take("Numbers (CSV)").read_text()
    table = pd.read_csv(io.StringIO(text))
    assert set(table[table.origin == "mine"].run) == {f"m-{name}-{n}" for name in NAMES for n in (0, 1)}
    assert table[table.origin == "as reported"].run.isna().all() and (table.origin == "as reported").any()
    context = chromium.new_context()
    report = context.new_page()
    asked = []
    report.on("request", lambda request: asked.append(request.url))
    file = take("Report (HTML)")
    report.goto(file.rename(file.with_suffix(".html")).as_uri())
    report.locator(".chart[data-drawn]").first.wait_for()
    shown = report.locator("main").inner_text()
    assert "m-none-1" in shown and "never averaged with ours" in shown and "1.19" in shown
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()
