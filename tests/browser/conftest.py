"""A server and a real Chromium for the browser tests; without a browser they are skipped, in CI they fail."""

import os
import re

import pytest

from tests.server import Server

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# No script has run for a quarter of a second, as the app itself tells; counted from when one begins to ask.
QUIET = """() => {
    const now = performance.now(), app = document.querySelector('[data-testid="stApp"]');
    if (app?.dataset.testScriptState !== "notRunning" || !window.lastBusy) window.lastBusy = now;
    return now - window.lastBusy > 250;
}"""


@pytest.fixture(scope="session")
def chromium():
    from playwright.sync_api import Error, sync_playwright

    from poolviz.doctor import chromium as find

    with sync_playwright() as playwright:
        path = find()
        try:
            browser = playwright.chromium.launch(executable_path=path and str(path), args=FLAGS)
        except Error as error:
            if os.environ.get("POOLVIZ_REQUIRE_BROWSER"):
                raise
            pytest.skip(f"no Chromium for the browser tests: {error}")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("server") / "app.log").wait()
    yield started
    started.stop()


class Tab:
    """A page of the app, its stage, and what went over its socket."""

    def __init__(self, context, url):
        self.page = context.new_page()
        self.sent, self.problems, self.outside = [], [], []
        self.page.on("websocket", lambda socket: socket.on("framesent", lambda data: self.sent.append(data)))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: None if "127.0.0.1" in request.url else self._outside(request.url))
        self.url = url

    def _outside(self, url):
        if not url.startswith(("data:", "blob:")):
            self.outside.append(url)

    def open(self, query=""):
        self.page.goto(self.url + query)
        self.page.locator(".stage[data-painted]").wait_for(timeout=60_000)
        self.idle()
        return self

    def sentences(self, query="", ready=".tokens[data-painted]"):
        """Open the sentence page at an address, until `ready` is there."""
        self.page.goto(self.url + "sentences" + query)
        self.page.locator(ready).first.wait_for(timeout=60_000)
        self.idle()
        return self

    def train(self, query=""):
        """Open the training page at an address, until it can be used."""
        self.page.goto(self.url + "train" + query)
        self.page.get_by_role("button", name="Start").wait_for(timeout=60_000)
        self.idle()
        return self

    def idle(self):
        """Until the script has finished and the last frame is drawn."""
        self.page.evaluate("window.lastBusy = performance.now()")
        self.page.wait_for_function(QUIET)

    def then(self, action, address):
        """Do what starts a run of the script, and wait until that run has told its address and has ended.

        A busy server begins some time after a click; until then the page is as idle as after it.
        """
        action()
        self.page.wait_for_url(re.compile(address))
        self.idle()

    def cell(self):
        return tuple(int(part) for part in self.page.locator(".stage").get_attribute("data-cell").split(","))

    def place(self):
        """The token and the dimension that the sentence page's board follows."""
        return tuple(int(part) for part in self.page.locator(".tokens").get_attribute("data-place").split(","))

    def line(self, title):
        """An operator's arithmetic on the sentence page's board."""
        titles = self.page.locator(".tokens .who").all_inner_texts()
        return self.page.locator(".tokens .what").nth(titles.index(title)).inner_text()

    def words(self, title):
        card = self.page.locator(".card", has=self.page.get_by_role("heading", name=title, exact=True))
        return card.locator(".words").inner_text()

    def canvas(self, title):
        card = self.page.locator(".card", has=self.page.get_by_role("heading", name=title, exact=True))
        return card.locator("canvas.map")

    def point(self, title, row, column, size):
        """Middle of a cell of a map of `size` (rows, columns) that fills its canvas."""
        box = self.canvas(title).bounding_box()
        x = box["x"] + (column + 0.5) * box["width"] / size[1]
        return x, box["y"] + (row + 0.5) * box["height"] / size[0]


@pytest.fixture
def tab(chromium, server):
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    opened = Tab(context, server.url)
    yield opened
    problems, outside = opened.problems, opened.outside
    context.close()
    assert problems == []
    assert outside == []  # nothing is loaded from anywhere but the server
