"""What the first visitor needs is loaded when the server starts, not when he comes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def ahead(_app: object) -> AsyncIterator[None]:
    """While the server lives; loading goes on beside it, so that it answers at once."""
    threading.Thread(target=_load, name="ahead", daemon=True).start()
    yield


def _load() -> None:
    from poolviz.inputs import images
    from poolviz.pages import navigation  # noqa: F401  a visitor who comes meanwhile waits for the same import

    images.digit(3)
