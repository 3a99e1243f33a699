"""The one registry of pooling operators; whatever lists operators iterates over it, in this order."""

from .average import AVERAGE
from .base import registry
from .identity import NONE
from .max import MAX, MIN
from .mixed import MIXED
from .power import LP
from .rank import MEDIAN
from .stochastic import SOFTMAX_STOCHASTIC, SOFTPOOL, STOCHASTIC

POOLINGS = registry(MAX, AVERAGE, MIN, STOCHASTIC, SOFTMAX_STOCHASTIC, SOFTPOOL, LP, MIXED, MEDIAN, NONE)
