"""Do one run: read its folder, train, leave its results there.

    python -m poolviz.runs.work RUN_DIR                    # or, on many devices:
    accelerate launch -m poolviz.runs.work RUN_DIR

Whatever happens, the run ends with a status and a reason in one sentence. Exit code 0 for completed and stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from poolviz.runs.store import FolderRecorder, Run, environment, replace_json


def work(run: Run, resume: bool = False) -> str:
    """Train `run` in this process; its state at the end."""
    main = os.environ.get("RANK", "0") == "0"
    try:
        import torch

        threads = os.environ.get("POOLVIZ_THREADS")
        if threads:
            torch.set_num_threads(int(threads))
        if main:
            replace_json(run.folder / "environment.json", environment())
            run.set_status("running", pid=os.getpid())
        state, reason = _train(run, resume, main)
    except KeyboardInterrupt:
        state, reason = "stopped", "It was interrupted."
    except Exception as error:  # every end is told in the status; the log has the traceback
        import traceback

        traceback.print_exc()
        state, reason = "failed", _sentence(error)
    if main:
        run.set_status(state, reason=reason)
    return state


def _train(run: Run, resume: bool, main: bool) -> tuple[str, str]:
    from poolviz.inputs.encoder import load_encoder
    from poolviz.training.data import load_task
    from poolviz.training.loop import train

    config = run.config
    encoder = load_encoder(config.encoder) if config.is_text else None
    task = load_task(config, encoder)
    outcome = train(config, task, FolderRecorder(run), encoder, resume)
    if main:
        replace_json(run.folder / "summary.json", summary(outcome, task))
        _keep_predictions(run.folder / "predictions.parquet", outcome, task)
    if outcome.progress.stopped.startswith("asked"):
        return "stopped", "It was asked to stop."
    return "completed", f"It reached {outcome.progress.stopped}." if outcome.progress.stopped else ""


def summary(outcome: Any, task: Any) -> dict[str, Any]:
    """Figures of a finished run, as plain numbers."""
    result: dict[str, Any] = {
        "progress": asdict(outcome.progress),
        "parameters": outcome.parameters,
        "peak_bytes": outcome.peak_bytes,
        "estimated_bytes": outcome.estimate.bytes,
        "labels": {
            name: dict(zip(task.classes, split.y.bincount(minlength=len(task.classes)).tolist(), strict=True))
            for name, split in (("train", task.train), ("validation", task.validation), ("test", task.test))
            if split is not None
        },
    }
    for name in ("best", "last", "test"):
        found = getattr(outcome, name)
        if found is not None:
            result[name] = {
                "loss": found.loss,
                "error": found.error,
                "mcc": found.mcc,
                "seconds": found.seconds,
                "confusion": found.confusion.tolist(),
            }
    if task.validation.domain is not None:
        result["best"] |= _by_domain(outcome.best, task.validation)
    return result


def _by_domain(found: Any, split: Any) -> dict[str, float]:
    from torchmetrics.functional.classification import binary_matthews_corrcoef

    parts = {"mcc_in_domain": split.domain == 1, "mcc_out_of_domain": split.domain == 0}
    return {
        name: float(binary_matthews_corrcoef(found.predictions[part], split.y[part].cpu()))
        for name, part in parts.items()
        if part.any()
    }


def _keep_predictions(path: Path, outcome: Any, task: Any) -> None:
    """On the test set by the best epoch's model; on the validation set where no test labels are public."""
    import pandas as pd

    split, found = (task.test, outcome.test) if task.test is not None else (task.validation, outcome.best)
    table = {
        "example": split.index.cpu().numpy(),
        "label": split.y.cpu().numpy().astype("int16"),
        "prediction": found.predictions.numpy().astype("int16"),
        "confidence": found.confidence.numpy().astype("float32"),
    }
    pd.DataFrame(table).to_parquet(path, index=False)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    if "out of memory" in text.lower() or isinstance(error, MemoryError):
        return "There was not enough memory: a smaller batch, a narrower network or shorter texts need less."
    if isinstance(error, OSError) and error.errno == 28:
        return "The disk is full."
    return text or type(error).__name__


def main(argv: list[str] | None = None) -> int:
    """Command line of one worker."""
    parser = argparse.ArgumentParser(prog="python -m poolviz.runs.work", description="Do one run.")
    parser.add_argument("folder", type=Path, help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on from its last checkpoint")
    options = parser.parse_args(argv)
    if not (options.folder / "config.json").is_file():
        parser.error(f"{options.folder} is no run's folder: it holds no config.json")
    return 0 if work(Run(options.folder), options.resume) in ("completed", "stopped") else 1


if __name__ == "__main__":
    sys.exit(main())
