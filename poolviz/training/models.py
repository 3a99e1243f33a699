"""The two models: report B's CNN and an encoder with a classifier, each with its pooling slot filled by name.

Both forwards take what `data.Split.batch` gives and return logits (B, classes). Knows nothing of data or the loop.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from poolviz.inputs.encoder import Encoder
from poolviz.pooling import Pool2d, ReportPooler, SequencePool
from poolviz.pooling.functional import operator
from poolviz.training.config import RunConfig

HIDDEN = 128  # units of report B's dense layer


class Dropout(nn.Dropout):
    """torch's own, with 16 random bits a number on the CPU, where torch draws 64: five times as fast.

    The share of zeros is p to the nearest 1/65,536, and what is kept is scaled by just that share.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Zero a share of the numbers in training."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        zeros = round(self.p * 2**16)
        kept = torch.empty_like(x)  # without gaps, in x's layout
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        torch.ge(bits.as_strided(x.shape, kept.stride()), zeros - 2**15, out=kept)
        return x * kept.mul_(2**16 / (2**16 - zeros))


class PooledCNN(nn.Module):
    """Report B: conv 3x3 - ReLU - conv 3x3 - ReLU - pool - dropout - dense 128 - ReLU - dropout - dense.

    With depth 2 a pooling stands after each convolution. x (B, 1, H, W) -> logits (B, classes). ValueError for an
    unknown pooling and for maps that the setting shrinks to nothing.
    """

    def __init__(self, config: RunConfig, size: int, classes: int) -> None:
        super().__init__()
        operator("training", config.pooling)
        narrow, wide = config.width, 2 * config.width

        def pool() -> nn.Module:
            return Pool2d(config.pooling, config.kernel_size, config.stride, temperature=config.temperature)

        layers: list[nn.Module] = [nn.Conv2d(1, narrow, 3), nn.ReLU()]
        layers += [pool()] if config.depth == 2 else []
        layers += [nn.Conv2d(narrow, wide, 3), nn.ReLU(), pool(), Dropout(config.dropout), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        with torch.no_grad():
            cells = self._cells(size)
        self.head = nn.Sequential(
            nn.Linear(cells, HIDDEN), nn.ReLU(), Dropout(config.head_dropout), nn.Linear(HIDDEN, classes)
        )

    def _cells(self, size: int) -> int:
        training = self.features.training
        try:
            cells = self.features.eval()(torch.zeros(1, 1, size, size)).shape[1]
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"Images of {size} x {size} are too small for these layers: use a smaller kernel, or one pooling stage."
            ) from error
        self.features.train(training)
        return cells

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.features(x))


class PooledEncoder(nn.Module):
    """Encoder -> sequence pooling -> (linear, tanh) -> dropout -> classifier; ids, mask (B, T) -> logits."""

    def __init__(self, config: RunConfig, encoder: Encoder, classes: int) -> None:
        super().__init__()
        parts = len(operator("training", config.pooling, sequences=True).parts) or 1
        self.encoder = copy.deepcopy(encoder.model).requires_grad_(True)  # the loaded one is shared and frozen
        hidden = self.encoder.config.hidden_size
        options = {"temperature": config.temperature}
        if config.linear_tanh:
            self.pool = ReportPooler(hidden, config.pooling, **options)
            parts = 1
        else:
            self.pool = SequencePool(config.pooling, hidden, **options)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(parts * hidden, classes)
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # BERT's own, which nothing here uses
        if config.freeze == "encoder":
            self.encoder.requires_grad_(False)
        elif config.freeze == "embeddings":
            for table in self.encoder.modules():  # of word pieces, positions and segments
                if isinstance(table, nn.Embedding):
                    table.requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return self.classifier(self.dropout(self.pool(hidden, mask)))


def build_model(config: RunConfig, classes: int, size: int = 0, encoder: Encoder | None = None) -> nn.Module:
    """The model of a run; its initial weights depend on the seed, and on the pooling only where shapes do.

    In a race every pooling starts from the same weights: each layer that has any draws them from a seed of its own,
    so what a pooling learns itself shifts nothing. The global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        if config.is_text:
            assert encoder is not None
            model: nn.Module = PooledEncoder(config, encoder, classes)
            fresh = [model.pool, model.classifier]
        else:
            model = PooledCNN(config, size, classes)
            fresh = [model.features, model.head]
        for place, part in enumerate(fresh):
            for number, layer in enumerate(part.modules()):
                if hasattr(layer, "reset_parameters"):
                    torch.manual_seed(config.seed * 1_000_003 + place * 101 + number)
                    layer.reset_parameters()
    return model
