"""Formulas as MathML: well-formed, and with every letter of the LaTeX in its place."""

import re
import xml.etree.ElementTree as ET

import pytest

from poolviz.charts.mathml import mathml
from poolviz.pooling import POOLINGS

SIGNS = {r"\sum": "∑", r"\max": "max", r"\min": "min", r"\in": "∈", r"\sim": "∼", r"\cdot": "⋅", r"\alpha": "α"}


def spoken(latex):
    """What is read aloud of a formula, from left to right: no structure, no space."""
    text = re.sub(r"\\(?:text|operatorname)\{([^}]*)\}", r"\1", latex)
    text = re.sub(r"\\(?:frac|sqrt|left|right|Big|quad)|\\[,;]", "", text)
    for command, sign in SIGNS.items():
        text = re.sub(re.escape(command) + r"(?![a-zA-Z])", sign, text)
    return re.sub(r"[\s{}_^]", "", text).replace("-", "−")


@pytest.mark.parametrize("name", POOLINGS)
def test_every_formula_is_whole(name):
    root = ET.fromstring(mathml(POOLINGS[name].formula))
    assert root.tag == "math" and "\\" not in "".join(root.itertext())
    assert re.sub(r"\s", "", "".join(root.itertext())) == spoken(POOLINGS[name].formula)


def test_structure():
    """As the MathML specification writes these."""
    root = ET.fromstring(mathml(r"\frac{1}{n} \sum_{t=1}^{n} h_t^{\,2} \sqrt{x}"))
    assert [each.tag for each in root[0]] == ["mfrac", "munderover", "msubsup", "msqrt"]
    assert ["".join(part.itertext()) for part in root[0][1]] == ["∑", "t=1", "n"]
    assert ["".join(part.itertext()) for part in root[0][0]] == ["1", "n"]


@pytest.mark.parametrize("latex", [r"\evil", r"a_{b", r"\frac{1}", "a^", "}"])
def test_what_is_unknown_or_unfinished_is_refused(latex):
    with pytest.raises(ValueError):
        mathml(latex)


def test_signs_are_text():
    assert ET.fromstring(mathml("a < b & c")) is not None
