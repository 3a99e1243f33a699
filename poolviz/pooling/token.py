"""Pooling the tokens of a sentence: x (..., n, c) holds n token embeddings of c dimensions, padding is not valid.

- cls, last: one token speaks for all. Devlin et al. (2019), "BERT", use the first; decoders the last, as Neelakantan
  et al. (2022), "Text and Code Embeddings by Contrastive Pre-Training".
- mean, mean-max: Reimers, Gurevych (2019), "Sentence-BERT", sec. 3; the two side by side as report A does.
- mean-sqrt-len: sum / sqrt(n). Cer et al. (2018), "Universal Sentence Encoder". Its weights add up to sqrt(n), not 1.
- weighted-mean: later tokens count more. Muennighoff (2022), "SGPT", eq. 2.
- attention: softmax of a learned query's scaled dot products with the tokens. Yang et al. (2016), "Hierarchical
  Attention Networks", eq. 6-7, without their hidden layer; scaled as in Vaswani et al. (2017).

max, stochastic and softmax-stochastic pool tokens as they pool windows. Where padding stands changes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .average import average_weights
from .base import Options, Pooling, first_index
from .max import MAX
from .stochastic import softmax_weights


def _cls_index(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    return first_index(valid)


def _last_index(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    return valid.shape[-2] - 1 - first_index(valid.flip(-2))


def _sqrt_len_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    share = valid.to(x.dtype)
    return (share / share.sum(dim=-2, keepdim=True).sqrt()).expand_as(x)


def _position_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    """1, 2, 3, ... from the first valid token on; a hole between tokens keeps its number, as sentence-transformers."""
    place = torch.arange(1, x.shape[-2] + 1, device=x.device).unsqueeze(-1) - first_index(valid)
    weight = torch.where(valid, place, 0).to(x.dtype)
    return (weight / weight.sum(dim=-2, keepdim=True)).expand_as(x)


def _attention_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    """One weight a token, the same in every dimension: softmax(q . x_t / sqrt(c) / temperature)."""
    query = options.query
    if query is None:
        query = (average_weights(x, valid, options) * x).sum(dim=-2, keepdim=True)
    scores = (x * query.to(x.dtype)).sum(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
    return softmax_weights(scores, valid, options).expand_as(x)


CLS = Pooling(
    name="cls",
    label="CLS",
    family="token",
    formula=r"S = h_1",
    paper="Devlin et al. (2019), NAACL",
    colour="#56B4E9",
    arithmetic="the first token's {y}",
    pick=_cls_index,
    for_maps=False,
    for_sequences=True,
)
LAST = Pooling(
    name="last",
    label="Last token",
    family="token",
    formula=r"S = h_n",
    paper="Neelakantan et al. (2022), arXiv:2201.10005",
    colour="#767676",
    arithmetic="the last token's {y}",
    pick=_last_index,
    for_maps=False,
    for_sequences=True,
)
MEAN = Pooling(
    name="mean",
    label="Mean",
    family="token",
    formula=r"S = \frac{1}{n} \sum_{t=1}^{n} h_t",
    paper="Reimers, Gurevych (2019), EMNLP",
    colour="#0072B2",
    arithmetic="({sum}) / {n} = {y}",
    weights=average_weights,
    for_maps=False,
    for_sequences=True,
)
MEAN_MAX = Pooling(
    name="mean-max",
    label="Mean-max",
    family="token",
    formula=r"S = \left[\, \frac{1}{n} \sum_{t=1}^{n} h_t \;;\; \max_{t} h_t \,\right]",
    paper="both side by side, 2H numbers; Conneau et al. (2017), EMNLP, compare the two",
    colour="#7F3C8D",
    arithmetic="mean and max, side by side",
    parts=(MEAN, MAX),
    for_maps=False,
    for_sequences=True,
)
MEAN_SQRT_LEN = Pooling(
    name="mean-sqrt-len",
    label="Mean √length",
    family="token",
    formula=r"S = \frac{1}{\sqrt{n}} \sum_{t=1}^{n} h_t",
    paper="Cer et al. (2018), arXiv:1803.11175",
    colour="#6F63C5",
    arithmetic="({sum}) / √{n} = {y}",
    weights=_sqrt_len_weights,
    for_maps=False,
    for_sequences=True,
)
WEIGHTED_MEAN = Pooling(
    name="weighted-mean",
    label="Weighted mean",
    family="token",
    formula=r"S = \sum_{t=1}^{n} \frac{t}{\sum_{k=1}^{n} k}\, h_t",
    paper="Muennighoff (2022), arXiv:2202.08904",
    colour="#E69F00",
    arithmetic="{wx} = {y}",
    weights=_position_weights,
    for_maps=False,
    for_sequences=True,
)
ATTENTION = Pooling(
    name="attention",
    label="Attention",
    family="token",
    formula=r"S = \sum_{t=1}^{n} \frac{e^{q \cdot h_t / (T \sqrt{H})}}{\sum_k e^{q \cdot h_k / (T \sqrt{H})}}\, h_t",
    paper="Yang et al. (2016), NAACL; q is learned, or, without training, the mean of the tokens",
    colour="#882255",
    arithmetic="{wx} = {y}",
    weights=_attention_weights,
    uses=("temperature", "query"),
    for_maps=False,
    for_sequences=True,
)
