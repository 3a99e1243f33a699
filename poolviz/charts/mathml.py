"""Formulas as MathML, which a browser draws without a script, a font or a network.

Only the LaTeX that the registry's formulas use is known; anything else is a ValueError that names it.
"""

from __future__ import annotations

import html
import re
from collections import deque

TOKEN = re.compile(r"\\(?:text|operatorname)\{[^}]*\}|\\[A-Za-z]+|\\.|[0-9]+|\S")
SPACES = {r"\,": "0.17em", r"\;": "0.28em", r"\quad": "1em"}
SYMBOLS = {r"\in": "∈", r"\sim": "∼", r"\cdot": "⋅"}
LIMITS = {r"\sum": "∑", r"\max": "max", r"\min": "min"}  # what stands below and above them in a line of its own
LETTERS = {r"\alpha": "α"}
LARGE = {r"\left", r"\right", r"\Big"}  # before a bracket that grows with what it holds


def mathml(latex: str) -> str:
    """A formula as a `math` element in a line of its own; ValueError for LaTeX that is not known here."""
    tokens = deque(TOKEN.findall(latex))
    return f'<math display="block">{_row(tokens, end="")}</math>'


def _row(tokens: deque[str], end: str) -> str:
    parts = []
    while tokens and tokens[0] != end:
        parts.append(_scripted(tokens))
    if end:
        _take(tokens)
    return f"<mrow>{''.join(parts)}</mrow>"


def _scripted(tokens: deque[str]) -> str:
    """An atom with what stands below and above it."""
    below, above = ("munder", "mover") if tokens[0] in LIMITS or "operatorname" in tokens[0] else ("msub", "msup")
    base, scripts = _atom(tokens), {}
    while tokens and tokens[0] in ("_", "^"):
        sign = tokens.popleft()
        scripts[sign] = _atom(tokens)
    if not scripts:
        return base
    if len(scripts) == 2:
        name = below + above[1:]  # munderover, msubsup
        return f"<{name}>{base}{scripts['_']}{scripts['^']}</{name}>"
    ((sign, script),) = scripts.items()
    name = below if sign == "_" else above
    return f"<{name}>{base}{script}</{name}>"


def _atom(tokens: deque[str]) -> str:
    token = _take(tokens)
    if token == "{":
        return _row(tokens, end="}")
    if token == r"\frac":
        return f"<mfrac>{_atom(tokens)}{_atom(tokens)}</mfrac>"
    if token == r"\sqrt":
        return f"<msqrt>{_atom(tokens)}</msqrt>"
    if token in LARGE:
        return f'<mo stretchy="true">{html.escape(_take(tokens))}</mo>'
    if token.startswith((r"\text{", r"\operatorname{")):
        name, words = token[1:-1].split("{")
        words = html.escape(words).replace(" ", "\u00a0")  # an ordinary space at its end would be lost
        return f"<mtext>{words}</mtext>" if name == "text" else f"<mo>{words}</mo>"
    if token in SPACES:
        return f'<mspace width="{SPACES[token]}"></mspace>'
    return _sign(token)


def _sign(token: str) -> str:
    if token in LIMITS:
        return f'<mo movablelimits="true">{LIMITS[token]}</mo>'
    if token in LETTERS or token.isalpha():
        return f"<mi>{LETTERS.get(token, token)}</mi>"
    if token.isdigit():
        return f"<mn>{token}</mn>"
    if token.startswith("\\") and token not in SYMBOLS or token in "_^}":
        raise ValueError(f"'{token}' is no part of the formulas that are known here.")
    return f'<mo stretchy="false">{html.escape(SYMBOLS.get(token, token).replace("-", "−"))}</mo>'


def _take(tokens: deque[str]) -> str:
    if not tokens:
        raise ValueError("The formula ends too early.")
    return tokens.popleft()
