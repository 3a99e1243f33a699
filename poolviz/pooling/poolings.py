"""The one registry of pooling operators; whatever lists operators iterates over it, in this order."""

from .average import AVERAGE
from .base import registry
from .identity import NONE
from .max import MAX, MIN
from .mixed import MIXED
from .power import LP
from .rank import MEDIAN
from .stochastic import SOFTMAX_STOCHASTIC, SOFTPOOL, STOCHASTIC
from .token import ATTENTION, CLS, LAST, MEAN, MEAN_MAX, MEAN_SQRT_LEN, WEIGHTED_MEAN

POOLINGS = registry(
    *(CLS, MEAN, MAX, AVERAGE, MIN, MEAN_MAX, MEAN_SQRT_LEN, WEIGHTED_MEAN, LAST),
    *(STOCHASTIC, SOFTMAX_STOCHASTIC, SOFTPOOL, ATTENTION, LP, MIXED, MEDIAN, NONE),
)
