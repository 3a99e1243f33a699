"""What glibc does with freed memory. Kept for the next step, it saves a third of a small network's step: page faults.

A step allocates and frees the same maps again and again; glibc hands blocks of megabytes back to the system at once,
and each comes back as pages to be zeroed. Knows nothing of torch.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # of <malloc.h>
LARGEST = 2**31 - 1
SIZES = (2**30, 2**25)  # bytes; older versions refuse more than 32 MiB
USUAL = 2**25, 2**26  # the most that glibc's own rule ever comes to


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, until the process ends; False, and no change, where there is no glibc."""
    return any(_set_thresholds(size, LARGEST) for size in SIZES)


@functools.cache  # the app asks at each run of its script
def few_arenas(count: int = 2) -> bool:
    """Let all threads share `count` heaps; False, and no change, where there is no glibc.

    A server runs each visitor's script in a new thread. By default threads get up to eight heaps a core, and each heap
    keeps what its threads have freed.
    """
    mallopt = _mallopt()
    return bool(mallopt and mallopt(ARENA_MAX, count))


def give_back() -> None:
    """Hand what is free to the system: what was measured before shall not be counted as a run's memory."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def free_as_usual() -> bool:
    """Undo `keep_freed_memory`."""
    return _set_thresholds(*USUAL)


def _set_thresholds(mmap: int, trim: int) -> bool:
    mallopt = _mallopt()
    return bool(mallopt and mallopt(MMAP_THRESHOLD, mmap) and mallopt(TRIM_THRESHOLD, trim))


def _mallopt() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return None
