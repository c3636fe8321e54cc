"""Exact influence between two sets of examples, in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tracin_core.gradients.capture import Gradients
from tracin_core.gradients.products import dot_products
from tracin_core.influence.batches import Batch, read_batches
from tracin_core.influence.measures import measure_pass, rows_of, sum_norms
from tracin_core.influence.outbox import Outbox
from tracin_core.influence.passes import ExamplePass
from tracin_core.influence.rates import Rates
from tracin_core.influence.work import Work

# Gradients of test examples held at once, counted as if they were whole: 128 million numbers
# are 512 MB in single precision, and factored ones take less.
HELD_NUMBERS = 128_000_000


def collect_influence(train: Work, test: Work, rates: Rates) -> Tensor:
    """Return ``sum_i sum_p rate_ip <gradient_ip(train), gradient_ip(test)>``, ``(N, M)``.

    A block of test examples keeps its gradients at all checkpoints while the train examples
    pass by once.

    Args:
        train: The run over N train examples.
        test: The run over M test examples.
        rates: Of each parameter at each checkpoint.
    """
    scores = torch.zeros(train.total, test.total, dtype=train.dtype)
    numbers = test.num_checkpoints * test.count_numbers(test.chosen)
    block_size = min(test.batch_size, max(1, HELD_NUMBERS // max(1, numbers)))
    if not train.total or not test.total:
        return scores
    for whole in read_batches(test.examples, block_size, test.offset):
        for block in whole.split(block_size):
            columns = slice(block.start, block.start + block.size)
            # Single precision would lose a digit over a hundred checkpoints.
            sums = torch.zeros(train.total, block.size, dtype=torch.float64)
            _add_block(train, _hold(test, block), rates, sums)
            scores[:, columns] = sums
    return scores


def _hold(test: Work, block: Batch) -> list[list[tuple[slice, Gradients]]]:
    """Return a block's gradients by checkpoint, with the columns that they belong to."""
    held: list[list[tuple[slice, Gradients]]] = [[] for _ in range(test.num_checkpoints)]

    def consume(step: ExamplePass, outbox: Outbox) -> None:
        _check(test, step, outbox)
        first = step.batch.start - block.start
        columns = slice(first, first + step.batch.size)
        held[step.checkpoint].append((columns, step.captured.gradients))

    test.run_over(block, consume)
    return held


def _add_block(
    train: Work,
    held: list[list[tuple[slice, Gradients]]],
    rates: Rates,
    scores: Tensor,
) -> None:
    def consume(step: ExamplePass, outbox: Outbox) -> None:
        _check(train, step, outbox)
        rows = rows_of(step)
        for columns, gradients in held[step.checkpoint]:
            products = _dot_each(train.chosen, step.captured.gradients, gradients)
            if products:
                outbox.add(scores[rows, columns], rates.weigh(step.checkpoint, products))

    train.run(consume)


@torch.no_grad()
def _dot_each(names: Iterable[str], left: Gradients, right: Gradients) -> dict[str, Tensor]:
    """Return each parameter's dot products, shape ``(n, m)``."""
    common = [name for name in names if name in left and name in right]
    return {name: dot_products(left[name], right[name]) for name in common}


def _check(work: Work, step: ExamplePass, outbox: Outbox) -> None:
    norms = sum_norms(measure_pass(step, work.chosen), work.chosen, step)
    outbox.check(norms, lambda values: work.check_finite(values, step))
