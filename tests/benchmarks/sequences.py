"""Time of pooling a batch of sentences, forward and backward, alone and in a fine-tuning step: see `--help`.

One process, one thread; as in the benchmark of maps, each round times every candidate once, in turning order, and the
median of ratios within a round is compared with the limit.
Pooling: beside the softmax expectation in plain torch. "element by element" is how report A draws: a Python loop over
sentences and dimensions that indexes one scalar at a time, each of whose backward steps writes a gradient of the whole
(B, T, H). Every output costs the same, so a part of them is timed on the full tensor and scaled up; the line says so.
Growth: the same over longer and longer sentences, without padding; `_growth.py` says what its slope is.
Fine-tuning: the encoder, pooling, two classes, cross entropy, backward and AdamW, with softmax-stochastic pooling and
with CLS. Both have a copy of the same weights, and the same dropout in each round.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/sequences.py`
from poolviz.pooling import SequencePool, pool_sequence
from tests.benchmarks._growth import SLOPE, Step, measure, table, turned
from tests.benchmarks.pooling import JUDGED, milliseconds, processor

Operator = Callable[[Tensor], Tensor]
DRAWN, REFERENCE, LOOP, EXPECTATION = "softmax-stochastic", "softmax (torch)", "element by element", "expectation"
OPERATORS = (DRAWN, "stochastic", "mean", "max", "cls", "attention")
SHAPE, SMALL = (32, 64, 384), (4, 8, 6)
RATIO = 2.0  # of a draw to the reference, at most
SPEED_UP = 300.0  # of a draw over the loop, at least
STEP_RATIO = 1.05  # of a fine-tuning step with a draw to one with CLS, at most
LOOP_EVERY = 5  # rounds
LENGTHENED = (512, 1024, 2048, 4096, 8192)  # tokens
# tokens in 16 sentences of film reviews, [CLS] and [SEP] among them
LENGTHS = (9, 12, 14, 17, 19, 21, 22, 24, 26, 28, 31, 33, 36, 41, 47, 58)


class Row(NamedTuple):
    """One line of a table: milliseconds and ratios, one of each a round."""

    name: str
    times: list[float]
    ratios: list[float]


def ragged_mask(rows: int, tokens: int) -> Tensor:
    """(rows, tokens) bool, padded on the right; lengths from a quarter to all of the tokens."""
    lengths = torch.linspace(tokens / 4, tokens, rows).round()
    return torch.arange(tokens) < lengths[:, None]


def plain_expectation(hidden: Tensor, mask: Tensor) -> Tensor:
    """What anyone would write: softmax over the tokens of each dimension, then the weighted sum."""
    chances = torch.softmax(hidden.masked_fill(~mask.unsqueeze(-1), -torch.inf), dim=1)
    return (chances * hidden).sum(dim=1)


def element_loop(hidden: Tensor, mask: Tensor, outputs: Sequence[int]) -> Tensor:
    """Softmax-stochastic pooling one scalar at a time: the `outputs`, flat positions in (B, H)."""
    pooled = []
    for output in outputs:
        row, dimension = divmod(output, hidden.shape[2])
        chances = torch.softmax(hidden.detach()[row, mask[row], dimension], dim=0)
        drawn = int(mask[row].nonzero()[torch.multinomial(chances, 1)])
        pooled.append(hidden[row, drawn, dimension])
    return torch.stack(pooled)


def spread_outputs(total: int, count: int) -> list[int]:
    """`count` of `total` positions, evenly over the sentences, so that their lengths are those of the batch."""
    return [number * total // count for number in range(count)]


def operators(mask: Tensor, outputs: Sequence[int]) -> dict[str, Operator]:
    """What is measured, the reference first and the loop last."""
    table = {REFERENCE: partial(plain_expectation, mask=mask)}
    table |= {name: partial(pool_sequence, attention_mask=mask, name=name, training=True) for name in OPERATORS}
    table[EXPECTATION] = partial(pool_sequence, attention_mask=mask, name=DRAWN)
    return table | {LOOP: partial(element_loop, mask=mask, outputs=outputs)}


def pooling_rows(shape: tuple[int, int, int], rounds: int, count: int) -> list[Row]:
    """Forward and backward of each operator; the loop's time is scaled from `count` outputs to all."""
    rows, tokens, width = shape
    hidden = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    table = operators(ragged_mask(rows, tokens), spread_outputs(rows * width, count))
    cotangents = {name: torch.ones_like(operator(hidden).detach()) for name, operator in table.items()}
    for name, operator in table.items():
        milliseconds(operator, hidden, cotangents[name])
    measured = []
    for number in range(rounds):
        names = [name for name in table if name != LOOP or number % LOOP_EVERY == 0]
        times = {name: milliseconds(table[name], hidden, cotangents[name]) for name in turned(names, number)}
        if LOOP in times:
            times[LOOP] *= rows * width / count
        measured.append(times)
    result = []
    for name in table:
        own = [each for each in measured if name in each]
        base = DRAWN if name == LOOP else REFERENCE
        result.append(Row(name, [each[name] for each in own], [each[name] / each[base] for each in own]))
    return result


def lengthened(tokens: int, names: Sequence[str]) -> Step:
    """Two sentences of so many tokens without padding, 384 dimensions, and the poolings `names` in training."""
    hidden = torch.randn(2, tokens, SHAPE[2], generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = torch.ones(2, tokens, dtype=torch.bool)
    operators = {name: partial(pool_sequence, attention_mask=mask, name=name, training=True) for name in names}
    return Step(tokens, hidden, operators, hidden.numel() * hidden.element_size())


class Tuning:
    """An encoder with a pooling layer, a linear classifier and AdamW."""

    def __init__(self, encoder: nn.Module, name: str) -> None:
        torch.manual_seed(0)  # the same classifier for each
        self.encoder = copy.deepcopy(encoder).train().requires_grad_()  # as loaded it is frozen
        self.pool = SequencePool(name)
        self.classifier = nn.Linear(encoder.config.hidden_size, 2)
        parameters = [*self.encoder.parameters(), *self.classifier.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=2e-5)

    def step(self, ids: Tensor, mask: Tensor, labels: Tensor, seed: int) -> float:
        """One training step; milliseconds."""
        torch.manual_seed(seed)
        start = time.perf_counter()
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        F.cross_entropy(self.classifier(self.pool(hidden, mask)), labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return 1000 * (time.perf_counter() - start)


def tuning_rows(encoder: nn.Module, lengths: Sequence[int], rounds: int) -> list[Row]:
    """Fine-tuning steps with each pooling; ratios are to CLS."""
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(1, encoder.config.vocab_size, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    labels = torch.arange(len(lengths)) % 2
    tunings = {name: Tuning(encoder, name) for name in ("cls", DRAWN)}
    for number in range(3):  # AdamW's state comes with the first step, its memory settles with the next
        for tuning in tunings.values():
            tuning.step(ids, mask, labels, seed=number)
    measured = [
        {name: tunings[name].step(ids, mask, labels, seed=number) for name in turned(list(tunings), number)}
        for number in range(rounds)
    ]
    return [
        Row(name, [each[name] for each in measured], [each[name] / each["cls"] for each in measured])
        for name in tunings
    ]


def encoder_for(small: bool) -> nn.Module:
    """The packaged encoder, or one of two tiny layers without weights of anyone's."""
    if not small:
        from poolviz.inputs.encoder import load_encoder

        return load_encoder().model
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2))


def line(row: Row, kept: bool | None = None) -> str:
    """One line of a table; `kept` says whether its limit is kept, None where it has none."""
    spread = f"[{min(row.ratios):.2f}..{max(row.ratios):.2f}]"
    numbers = f"{statistics.median(row.times):>10.2f}{statistics.median(row.ratios):>9.3f}"
    return f"{row.name:<20}{numbers}  {spread:<16}{JUDGED[kept]}".rstrip()


def loop_line(row: Row, count: int, total: int, kept: bool) -> str:
    """The loop's line: how many times as long it takes as a draw, and what that was taken from."""
    source = "measured in full" if count == total else f"estimated from {count:,} of {total:,} outputs"
    return (
        f"{row.name:<20}{statistics.median(row.times):>10.0f}  {DRAWN} is {statistics.median(row.ratios):,.0f}x faster"
        f" ({source}){JUDGED[kept]}"
    )


def verdict(row: Row) -> bool | None:
    """Whether a row of the pooling table keeps its limit; None where it has none."""
    if row.name == LOOP:
        return statistics.median(row.ratios) >= SPEED_UP
    return statistics.median(row.ratios) <= RATIO if row.name == DRAWN else None


def tuning_verdict(row: Row) -> bool | None:
    """Whether a row of the fine-tuning table keeps its limit; None where it has none."""
    return statistics.median(row.ratios) <= STEP_RATIO if row.name == DRAWN else None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a limit is missed and `--check` was given."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench sequences", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds (default %(default)s)")
    parser.add_argument(
        "--outputs", type=int, default=256, help="outputs of the loop that are timed (default %(default)s)"
    )
    parser.add_argument(
        "--small", action="store_true", help="tiny tensors and encoder: shows that it runs, measures nothing"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    options = parser.parse_args(argv)
    shape = SMALL if options.small else SHAPE
    total = shape[0] * shape[2]
    if options.rounds < 1 or options.outputs < 1:
        parser.error("--rounds and --outputs must be at least 1")
    count = min(options.outputs, total)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {processor()}, {torch.get_num_threads()} thread, {options.rounds} rounds\n")

    print(
        f"pooling {shape}, forward + backward; limits: {DRAWN} <= {RATIO:g} of {REFERENCE}, >= {SPEED_UP:g}x the loop"
    )
    print(f"{'operator':<20}{'ms':>10}{'ratio':>9}  [min..max]")
    *plain, loop = pooling_rows(shape, options.rounds, count)
    for row in plain:
        print(line(row, verdict(row)))
    print(loop_line(loop, count, total, bool(verdict(loop))), flush=True)

    sizes = LENGTHENED[:2] if options.small else LENGTHENED
    growths = measure([lengthened(tokens, (DRAWN, "stochastic", "mean")) for tokens in sizes], min(options.rounds, 5))
    print("\n" + table(f"growth with T, pooling (2, T, 384); limit: slope <= {SLOPE}", sizes, growths), flush=True)

    lengths = LENGTHS[:4] if options.small else LENGTHS
    sentences = f"{len(lengths)} sentences of {min(lengths)} to {max(lengths)} tokens"
    print(f"\nfine-tuning step, {sentences}; limit: {DRAWN} <= {STEP_RATIO} of cls")
    print(f"{'pooling':<20}{'ms':>10}{'ratio':>9}  [min..max]")
    steps = tuning_rows(encoder_for(options.small), lengths, options.rounds)
    for row in steps:
        print(line(row, tuning_verdict(row)))
    verdicts = [verdict(row) for row in (*plain, loop)] + [growth.kept for growth in growths]
    verdicts += [tuning_verdict(row) for row in steps]
    return int(options.check and False in verdicts)


if __name__ == "__main__":
    sys.exit(main())
