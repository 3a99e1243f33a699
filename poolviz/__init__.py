"""poolviz: what pooling does to feature maps, to sentences, and to learning.

The operators are in `poolviz.pooling` and need torch alone; the pages are started with
`streamlit run streamlit_app.py`. This file imports nothing, so that `import poolviz` costs nothing.
"""

__version__ = "0.1.0"
