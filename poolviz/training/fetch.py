"""Is a task's data at hand, and how is it fetched where there is a network? Only on request; nothing else downloads."""

from __future__ import annotations

from poolviz.inputs import samples, sentences

FETCHED = ("mnist", "fashion-mnist", "cola")  # the others come with poolviz


def at_hand(task: str) -> bool:
    """Whether `task` needs no download; its files are not opened."""
    if task == "cola":
        return all(sentences.cola_folder(split) is not None for split in ("train", "dev"))
    return task not in FETCHED or samples.mnist_root(task) is not None


def fetch(task: str) -> None:
    """Download `task`'s data into ~/.cache/poolviz unless it is at hand; InputError, one sentence, where that fails."""
    if at_hand(task):
        return
    if task == "cola":
        sentences.download_cola()
    else:
        samples.mnist(0, task, "train", download=True)
