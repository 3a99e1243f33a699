"""The picture frame: page configuration and navigation, nothing else."""

import streamlit as st

from poolviz.training.memory import few_arenas

few_arenas()  # before the threads of a class that comes at once have made a heap each
st.set_page_config(page_title="poolviz", page_icon="🔍", layout="wide", initial_sidebar_state=340)

from poolviz.pages import feature_maps, sentences, settings  # noqa: E402  torch loads after that
from poolviz.pages.frame import frame  # noqa: E402

settings.bounds_to_environment()


def train() -> None:
    """The third page; what it needs (a queue, tables) loads when it is opened, not before the first picture."""
    from poolviz.pages.train import page

    page()


def compare() -> None:
    """The fourth page, loaded as the third is."""
    from poolviz.pages.compare import page

    page()


def lessons() -> None:
    """The fifth page: what to go through in class."""
    from poolviz.pages.lessons import page

    page()


def feature_maps_by_name() -> None:
    """The first page has the bare address; whoever types its name is led there."""
    st.switch_page(pages["feature-maps"], query_params=st.query_params.to_dict())


pages = {
    "feature-maps": st.Page(
        feature_maps.page, title="Feature maps", icon=":material/grid_on:", url_path="explorer", default=True
    ),
    "sentences": st.Page(sentences.page, title="Sentences", icon=":material/notes:", url_path="sentences"),
    "train": st.Page(train, title="Train", icon=":material/trending_down:", url_path="train"),
    "compare": st.Page(compare, title="Compare", icon=":material/leaderboard:", url_path="compare"),
    "lessons": st.Page(lessons, title="Lessons", icon=":material/school:", url_path="lessons"),
}
by_name = st.Page(feature_maps_by_name, url_path="feature-maps", visibility="hidden")
page = st.navigation([*pages.values(), by_name], position="top")
with frame(pages, page):
    page.run()
