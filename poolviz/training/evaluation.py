"""A model judged on a split: loss, error, confusion matrix, Matthews correlation. Knows nothing of models or loops."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from poolviz.training.data import Split


@dataclass(frozen=True)
class Evaluation:
    """A model on a split."""

    loss: float
    predictions: Tensor  # (n,) classes in the split's order
    confidence: Tensor  # (n,) probability of the prediction
    confusion: Tensor  # (classes, classes), a row a true class
    mcc: float
    seconds: float  # by the clock
    cpu_seconds: float  # of the process
    by_domain: dict[str, float] = field(default_factory=dict)  # MCC in and out of domain (CoLA)

    @property
    def error(self) -> float:
        """Share of examples whose class is wrong."""
        total = int(self.confusion.sum())
        return (total - int(self.confusion.diagonal().sum())) / total


def confusion_matrix(truth: Tensor, said: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes) of (n,) class numbers: a row a true class, a column what was said.

    Here because torchmetrics brings torchvision and transformers along: a run's first point would wait some seconds.
    """
    return (truth * classes + said).bincount(minlength=classes**2).view(classes, classes)


def matthews(confusion: Tensor) -> float:
    """Matthews correlation of a confusion matrix (classes, classes); 0 where one class alone is said, or alone is true.

    Gorodkin (2004), as scikit-learn has it; torchmetrics 1.9 says 0.09 of "always acceptable" on CoLA's 70 %.
    """
    table = confusion.double()
    true, said, total = table.sum(1), table.sum(0), table.sum()
    spread = (total**2 - said @ said) * (total**2 - true @ true)
    return float((table.trace() * total - true @ said) / spread.sqrt()) if spread else 0.0


def by_domain(predictions: Tensor, split: Split) -> dict[str, float]:
    """MCC in and out of domain, where a split knows of domains (CoLA)."""
    if split.domain is None:
        return {}
    parts = {"mcc_in_domain": split.domain == 1, "mcc_out_of_domain": split.domain == 0}
    return {
        name: matthews(confusion_matrix(split.y[part], predictions[part], 2).cpu())
        for name, part in parts.items()
        if part.any()
    }
