"""The server, which loads ahead of its first visitor, and the picture frame that a visitor's run draws.

`streamlit run` finds `app` and starts it; the server then runs this file anew for whatever a visitor does.
"""

import streamlit as st

if st.runtime.exists():
    st.set_page_config(page_title="poolviz", page_icon="🔍", layout="wide", initial_sidebar_state=340)

    from poolviz.pages.navigation import navigate  # torch loads after the title

    navigate()
else:
    from poolviz.pages.ahead import ahead
    from poolviz.training.memory import few_arenas

    few_arenas()  # before any thread has made a heap of its own
    app = st.App(__file__, lifespan=ahead)
