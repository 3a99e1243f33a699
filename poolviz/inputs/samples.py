"""Pictures that come with the project or with a data set: digits, photographs, MNIST.

scikit-learn's files are read without importing it, which would cost seconds; MNIST comes from the folder that
POOLVIZ_DATA names, from ~/.cache/poolviz, or by a download that the caller asked for. Nothing else is written.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import tempfile
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from poolviz.inputs.picture import MIN_SIDE, InputError, Picture, shown, to_tensor, whole

DIGIT_COUNT = 1797  # pictures in scikit-learn's digits
PHOTOGRAPHS = ("flower", "china")


IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IDX_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}  # also torchvision's class names


def _sklearn_file(*parts: str) -> Path:
    """A data file inside the installed scikit-learn, found without its import, which costs two seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("scikit-learn is not installed, so its pictures are missing: pip install scikit-learn.")
    path = Path(spec.submodule_search_locations[0], "datasets", *parts)
    if not path.is_file():
        raise InputError(f"The installed scikit-learn holds no {path.name}: install scikit-learn again.")
    return path


@functools.lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, tuple[int, ...]]:
    """All digits: (1797, 8, 8) float32 in 0..16, and their labels."""
    # np.loadtxt unpacks the .gz itself
    table = np.loadtxt(_sklearn_file("data", "digits.csv.gz"), delimiter=",", dtype=np.float32)
    return torch.from_numpy(table[:, :64].reshape(-1, 8, 8).copy()), tuple(int(label) for label in table[:, 64])


def digit(index: int) -> Picture:
    """Digit number `index` (0..1796) of scikit-learn's `load_digits`: (1, 8, 8), native values 0..16.

    Raises InputError for an index that is no whole number or out of range.
    """
    index = whole(index, "The digit's number", 0, DIGIT_COUNT - 1)
    return Picture(_digits()[0][index].clone()[None], ("intensity",))


def digit_label(index: int) -> int:
    """The digit (0..9) that picture `index` shows. Raises InputError as `digit` does."""
    return _digits()[1][whole(index, "The digit's number", 0, DIGIT_COUNT - 1)]


def cache_folder() -> Path:
    """Where our own downloads lie."""
    return Path(os.path.expanduser("~"), ".cache", "poolviz")


def _idx_folder(dataset: str) -> str:
    if dataset not in IDX_FOLDERS:
        raise InputError(f"There is no data set {shown(dataset)}: choose one of {', '.join(IDX_FOLDERS)}.")
    return IDX_FOLDERS[dataset]


def data_folders() -> list[Path]:
    """Where data sets are looked for, first to last."""
    named = os.environ.get("POOLVIZ_DATA")
    return ([Path(named)] if named else []) + [cache_folder()]


def mnist_root(dataset: str = "mnist") -> Path | None:
    """The first folder that holds all four IDX files of `dataset` (`MNIST/raw/*` or `FashionMNIST/raw/*`).

    Looks at the folder that POOLVIZ_DATA names, then at ~/.cache/poolviz; None when neither holds them.
    Raises InputError for an unknown data set.
    """
    folder = _idx_folder(dataset)
    for root in data_folders():
        if all((root / folder / "raw" / name).is_file() for name in IDX_FILES):
            return root
    return None


def _missing_sentence(dataset: str) -> str:
    folder = _idx_folder(dataset)
    raw = data_folders()[0] / folder / "raw"
    missing = next((name for name in IDX_FILES if not (raw / name).is_file()), IDX_FILES[0])
    return (
        f"{folder} is not at hand ({raw / missing} is missing): set POOLVIZ_DATA to a folder laid out as "
        f"{folder}/raw/*, or download it with a network."
    )


def _download(dataset: str) -> Path:
    """Fetch `dataset` into ~/.cache/poolviz by torchvision, which checks the md5 of each archive."""
    from torchvision import datasets

    home, folder = cache_folder(), _idx_folder(dataset)
    try:
        target = home / folder / "raw"
        target.mkdir(parents=True, exist_ok=True)
        # Unpacked aside, then moved file by file: another session never reads, or leaves, half a file.
        with tempfile.TemporaryDirectory(dir=home, prefix="download-") as scratch:
            getattr(datasets, folder)(root=scratch, download=True)
            for name in IDX_FILES:
                os.replace(Path(scratch, folder, "raw", name), target / name)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InputError(
            f"{folder} could not be downloaded to {home} (is there a network, and room on the disk?): try "
            f"again with one, or set POOLVIZ_DATA to a folder laid out as {folder}/raw/*."
        ) from error
    return home


@functools.lru_cache(maxsize=4)
def _idx_set(root: Path, dataset: str, split: str) -> tuple[Tensor, Tensor]:
    """One split: images (n, 28, 28) uint8 and labels (n,), read by torchvision."""
    from torchvision import datasets

    folder = _idx_folder(dataset)
    sentence = (
        f"The {split} files of {folder} in {root / folder / 'raw'} are damaged or cut short: delete that "
        "folder, then copy or download the data set again."
    )
    try:
        data = getattr(datasets, folder)(root=root, train=split == "train", download=False)
        images, labels = data.data, data.targets
    # torchvision checks the header by assertions, a table look-up and a reshape
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError, LookupError) as error:
        raise InputError(sentence) from error
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or len(images) == 0 or int(labels.max()) > 9:
        raise InputError(sentence)
    return images, labels


def _idx_item(index: int, dataset: str, split: str, download: bool) -> tuple[Tensor, int]:
    if split not in ("train", "test"):
        raise InputError(f"There is no split {shown(split)}: choose train or test.")
    root = mnist_root(dataset)
    if root is None:
        if not download:
            raise InputError(_missing_sentence(dataset))
        root = _download(dataset)
    images, labels = _idx_set(root, dataset, split)
    index = whole(index, "The picture's number", 0, len(images) - 1)
    return images[index], int(labels[index])


def image_set(dataset: str, split: str) -> tuple[Tensor, Tensor]:
    """All of MNIST's or Fashion-MNIST's `split`: images (n, 28, 28) uint8 and labels (n,); raises as `mnist` does."""
    root = mnist_root(dataset)
    if root is None:
        raise InputError(_missing_sentence(dataset))
    return _idx_set(root, dataset, split)


def digit_set() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits: images (n, 8, 8) in 0..16 and labels (n,)."""
    images, labels = _digits()
    return images.to(torch.uint8), torch.tensor(labels)


def mnist(index: int, dataset: str = "mnist", split: str = "test", download: bool = False) -> Picture:
    """Picture `index` of MNIST or Fashion-MNIST: (1, 28, 28) in 0..1.

    dataset: "mnist" or "fashion-mnist"; split: "test" or "train"; download: fetch it to ~/.cache/poolviz
    where it is at hand neither there nor in POOLVIZ_DATA. Raises InputError for files missing, damaged or not
    to be downloaded, for unknown names and for an index out of range.
    """
    image, _ = _idx_item(index, dataset, split, download)
    return Picture(image[None].float() / 255.0, ("intensity",))


def mnist_label(index: int, dataset: str = "mnist", split: str = "test", download: bool = False) -> int:
    """The class (0..9) of the picture that `mnist` gives for these arguments; raises InputError like it."""
    return _idx_item(index, dataset, split, download)[1]


def photograph(name: str, size: int = 112) -> Picture:
    """A sample photograph of scikit-learn, (3, size, size) RGB in 0..1: centre square, antialiased.

    name: one of PHOTOGRAPHS; size: 4 to 427 pixels (the photographs are 640 x 427). Raises InputError
    otherwise.
    """
    if name not in PHOTOGRAPHS:
        raise InputError(f"There is no photograph {shown(name)}: choose one of {', '.join(PHOTOGRAPHS)}.")
    size = whole(size, "The photograph's size", MIN_SIDE, 427)
    from PIL import Image

    with Image.open(_sklearn_file("images", f"{name}.jpg")) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        square = square.resize((size, size), Image.Resampling.LANCZOS)
    return Picture(to_tensor(square), ("red", "green", "blue"))
