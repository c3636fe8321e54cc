"""Influence of N train examples on M test examples, ``(N, M)``: test gradients wait, train pass by.

The test examples' gradients are kept, in the form that takes the least, while the train examples
pass by once at every checkpoint. What is kept stays within ``HELD_BYTES`` (on a GPU a share of its
memory). Where the gradients at all checkpoints do not fit, checkpoints are taken a few at a time,
which reads the examples again and computes nothing twice; where even those at one do not, test
examples are taken block by block, and the train examples pass by once for each block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tracin_core.capture.batching import Batch, read_batches
from tracin_core.capture.runner import ExamplePass, RunContext
from tracin_core.capture.signals import measure_pass, rows_of, sum_norms
from tracin_core.capture.transfer import ResultBuffer
from tracin_core.checkpoints.learning_rates import Rates
from tracin_core.gradients.factored import Contribution, measure
from tracin_core.gradients.products import KeptUses, dot_products, join_kept, keep_uses

# Gradients of test examples that are held at once; on a GPU a share of its memory.
HELD_BYTES = 1 << 30
HELD_SHARE = 8
# Test examples whose gradients tell how much the others will take.
PROBED = 3


def collect_influence(train: RunContext, test: RunContext, rates: Rates) -> Tensor:
    """Return ``sum_i sum_p rate_ip <gradient_ip(train), gradient_ip(test)>``, ``(N, M)``.

    Args:
        train: The run over N train examples.
        test: The run over M test examples.
        rates: Of each parameter at each checkpoint.
    """
    count = train.num_checkpoints
    # Single precision would lose a digit over a hundred checkpoints.
    dtype = train.dtype if count == 1 else torch.float64
    scores = torch.zeros(train.total, test.total, dtype=dtype)
    if scores.numel():
        held = choose_held_bytes(train.runner.device)
        progress = BlockProgress(train, test.total)
        sizes = _choose_sizes(test, held)
        for first in range(0, count, sizes.checkpoints):
            checkpoints = range(first, min(first + sizes.checkpoints, count))
            for block in _hold_blocks(test, held, checkpoints, sizes):
                block.prepare(held)
                _add_block(train, block, rates, scores[:, block.columns], progress)
    return scores.to(train.dtype)


def choose_held_bytes(device: torch.device) -> int:
    """Return how many bytes of gradients may be held at once."""
    if device.type != "cuda":
        return HELD_BYTES
    memory: int = torch.cuda.get_device_properties(device).total_memory
    return max(HELD_BYTES, memory // HELD_SHARE)


class BlockProgress:
    """Reports several runs over the train examples as one, each counted by its share of the work.

    Args:
        train: The run, with what is to be told.
        total: Test examples in all blocks.
    """

    def __init__(self, train: RunContext, total: int) -> None:
        self._tell, self._total = train.on_progress, total
        self._all = train.total * train.num_checkpoints
        self._done = 0

    def watch(self, train: RunContext, columns: int) -> RunContext:
        """Return the run, told of as a part of the whole.

        Args:
            train: The run.
            columns: Test examples in this block.
        """
        if self._tell is None:
            return train
        tell, before = self._tell, self._done

        def report(done: int, _: int) -> None:
            self._done = before + done * columns
            tell(self._done // self._total, self._all)

        return replace(train, on_progress=report)


class TestBlock:
    """Gradients of a run of test examples at some checkpoints.

    Args:
        start: Position of the first example.
        checkpoints: Which checkpoints.
        test: The run over all test examples.
        is_whole: Whether gradients that products need whole are formed at once.

    Attributes:
        size: Examples in it.
        nbytes: What it holds.
        whole_nbytes: What it would hold with all gradients whole that products need so.
    """

    __test__ = False  # no test case, whatever its name begins with

    def __init__(
        self, start: int, checkpoints: range, test: RunContext, *, is_whole: bool = False
    ) -> None:
        self._start, self.checkpoints, self._test = start, checkpoints, test
        self._is_whole = is_whole
        self.size = self.nbytes = self.whole_nbytes = 0
        self._kept: dict[int, dict[str, list[KeptUses]]] = {index: {} for index in checkpoints}

    @property
    def columns(self) -> slice:
        """Where its examples stand in the whole."""
        return slice(self._start, self._start + self.size)

    def would_hold(self, more: int) -> int:
        """Return what it will hold with so many more examples."""
        return self.nbytes + self.nbytes * more // max(1, self.size)

    def add(self, batch: Batch) -> None:
        """Compute the gradients of a batch and keep them."""
        self._test.run_over(batch, self._consume, self.checkpoints)
        self.size += batch.size

    @torch.no_grad()
    def _consume(self, step: ExamplePass, buffer: ResultBuffer) -> None:
        test, first = self._test, step.batch.start - self._start
        columns = slice(first, first + step.batch.size)
        gradients = step.captured.gradients
        kept = {
            name: keep_uses(columns, gradients[name], test.total)
            for name in test.chosen
            if name in gradients
        }
        if self._is_whole:
            kept = {name: one.make_ready() for name, one in kept.items()}
        norms = {name: measure(one.uses) for name, one in kept.items()}

        def keep(values: Tensor) -> None:
            test.check_finite(values, step)
            for name, one in kept.items():
                self._kept[step.checkpoint].setdefault(name, []).append(one)
                self.nbytes += one.nbytes
                self.whole_nbytes += one.nbytes if one.is_ready else one.whole_nbytes

        buffer.check(sum_norms(norms, test.chosen, step), keep)

    @torch.no_grad()
    def prepare(self, held: int) -> None:
        """Make products cheap: form whole gradients while there is room, and join batches.

        Args:
            held: Bytes that may be held.
        """
        for by_name in self._kept.values():
            for name, kept in by_name.items():
                by_name[name] = join_kept([self._make_ready(one, held) for one in kept])

    def _make_ready(self, one: KeptUses, held: int) -> KeptUses:
        more = 0 if one.is_ready else one.whole_nbytes - one.nbytes
        if self.nbytes + more > held:
            return one
        self.nbytes += more
        return one.make_ready()

    def multiply(self, step: ExamplePass, rates: Rates) -> Tensor | None:
        """Return ``sum_p rate_p <train, test>`` for a pass, ``(B, size)``; ``None`` for zeros."""
        total: Tensor | None = None
        for name, kept in self._kept[step.checkpoint].items():
            uses = step.captured.gradients.get(name)
            if not uses:
                continue
            products = self._multiply_one(uses, kept)
            rate = rates.of(step.checkpoint, name)
            total = products.mul_(rate) if total is None else total.add_(products, alpha=rate)
        return total

    def _multiply_one(self, uses: Sequence[Contribution], kept: Sequence[KeptUses]) -> Tensor:
        blocks = [dot_products(uses, one.uses) for one in kept]
        if blocks[0].shape[1] == self.size:
            return blocks[0]
        products = blocks[0].new_zeros(len(blocks[0]), self.size)
        for one, block in zip(kept, blocks, strict=True):
            products[:, one.columns] = block
        return products

    def list_unmatched(self, step: ExamplePass, names: Iterable[str]) -> list[str]:
        """Return the parameters that the pass has gradients of and no test example has."""
        kept = self._kept[step.checkpoint]
        return [name for name in names if name in step.captured.gradients and name not in kept]


@dataclass(frozen=True)
class BlockSizes:
    """How the test examples are divided.

    Attributes:
        checkpoints: Checkpoints taken together.
        examples: Test examples held at once, at most.
        is_whole: Whether there is room for all gradients whole that products need so.
    """

    checkpoints: int
    examples: int
    is_whole: bool


def _choose_sizes(test: RunContext, held: int) -> BlockSizes:
    """Divide the test examples so that what is held of them fits."""
    count, total = test.num_checkpoints, test.total
    # Whole gradients are the most that is ever kept.
    each = test.count_numbers(test.chosen) * test.dtype.itemsize
    if each * total * count <= held:
        return BlockSizes(count, total, True)
    batch = next(read_batches(test.examples, PROBED, test.offset))
    probe = TestBlock(0, range(1), test)
    probe.add(batch.cut(0, min(PROBED, batch.size)))
    each = max(1, probe.nbytes // probe.size)
    together = min(count, max(1, held // (each * total)))
    is_whole = probe.whole_nbytes // probe.size * total * together <= held
    return BlockSizes(together, max(1, held // (each * together)), is_whole)


def _hold_blocks(
    test: RunContext, held: int, checkpoints: range, sizes: BlockSizes
) -> Iterator[TestBlock]:
    """Yield the test examples in blocks that may be held at once, in order."""
    most = sizes.examples
    block = TestBlock(0, checkpoints, test, is_whole=sizes.is_whole)
    for batch in read_batches(test.examples, min(most, test.batch_size), test.offset):
        for part in batch.split(most):
            if block.size and block.would_hold(part.size) > held:
                yield block
                block = TestBlock(part.start, checkpoints, test, is_whole=sizes.is_whole)
            block.add(part)
    yield block


def _add_block(
    train: RunContext, block: TestBlock, rates: Rates, scores: Tensor, progress: BlockProgress
) -> None:
    """Add the influence of all train examples on those of a block, ``(N, size)``."""

    @torch.no_grad()
    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        def check(values: Tensor) -> None:
            train.check_finite(values, step)

        # A gradient that is not finite makes all its products so, where it has any.
        unmatched = block.list_unmatched(step, train.chosen)
        if unmatched:
            buffer.check(sum_norms(measure_pass(step, unmatched), unmatched, step), check)
        products = block.multiply(step, rates)
        if products is not None:
            buffer.add(scores[rows_of(step)], products, check)

    progress.watch(train, block.size).run(consume, block.checkpoints)
