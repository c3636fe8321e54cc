"""Questions asked of influences: the k best train examples, a whole test set, shares by module.

``TracIn`` has these beside ``influence``. None holds more than a bounded block of the N x M
influences at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset

from tracin_core.capture.batching import count_examples
from tracin_core.capture.rows import Columns, open_columns
from tracin_core.capture.runner import ExamplePass, RunContext
from tracin_core.capture.signals import measure_pass, rows_of, sum_norms
from tracin_core.capture.transfer import ResultBuffer
from tracin_core.checkpoints.learning_rates import Rate, Rates
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.factored import Dense, instantiate_chunks
from tracin_core.gradients.products import dot_products
from tracin_core.losses import Loss
from tracin_core.progress import Progress
from tracin_core.retrieval.exact import SearchResult, Side, TopK, find_promising

Explain = Literal["loss", "score"]
Normalise = Literal["cosine", "relatif"]

# Influences held at a time, in double precision: 512 MB.
HELD_INFLUENCES = 1 << 26


class InfluenceQueries(ABC):
    """What can be asked of anything that computes influences of train on test examples."""

    rates: list[Rate]

    @abstractmethod
    def influence(
        self,
        train: Any,
        test: Any,
        *,
        explain: Explain = "loss",
        aggregate: bool = False,
        test_loss: Loss | None = None,
        normalise: Normalise | None = None,
        on_progress: Progress | None = None,
    ) -> Tensor:
        """Return influences, shape ``(N, M)``, or ``(N,)`` on all test examples together."""

    @abstractmethod
    def name_parameters(self, examples: Any) -> tuple[str, ...]:
        """Return the chosen layers' parameters."""

    @abstractmethod
    def derive(self, **changes: Any) -> InfluenceQueries:
        """Return the same engine with other options."""

    @abstractmethod
    def _open_run(
        self, examples: Any, explain: Explain, on_progress: Progress | None = None
    ) -> AbstractContextManager[RunContext]:
        """Prepare one run over examples."""

    def proponents(
        self,
        train: Any,
        test: Any,
        k: int = 10,
        *,
        explain: Explain = "loss",
        aggregate: bool = False,
        test_loss: Loss | None = None,
        normalise: Normalise | None = None,
        on_progress: Progress | None = None,
    ) -> SearchResult:
        """Return the k train examples with the largest influence on each test example.

        Memory does not grow with N x M: test examples are taken in blocks of at least 64.

        Args:
            train: N examples with targets.
            test: M examples.
            k: How many; at most N are returned.
            explain: As in ``influence``, and so the other options.
            aggregate: Influences on the sum of all test losses.
            test_loss: Another loss for the test examples.
            normalise: What influences are divided by.
            on_progress: Called with (train examples done, all) of each block of test examples.

        Returns:
            ``indices`` and ``scores`` (float64), shape ``(M, k)``, or ``(k,)`` where aggregated,
            best first, of equal scores the lower position; whatever their sign.
        """
        options = {
            "explain": explain,
            "aggregate": aggregate,
            "test_loss": test_loss,
            "normalise": normalise,
            "on_progress": on_progress,
        }
        return rank(self, train, test, k, "proponents", options)

    def opponents(
        self,
        train: Any,
        test: Any,
        k: int = 10,
        *,
        explain: Explain = "loss",
        aggregate: bool = False,
        test_loss: Loss | None = None,
        normalise: Normalise | None = None,
        on_progress: Progress | None = None,
    ) -> SearchResult:
        """Return the k train examples with the smallest influence; ``proponents`` else.

        Args:
            train: As in ``proponents``, and so all others.
            test: M examples.
            k: How many; at most N are returned.
            explain: As in ``influence``.
            aggregate: Influences on the sum of all test losses.
            test_loss: Another loss for the test examples.
            normalise: What influences are divided by.
            on_progress: As in ``proponents``.

        Returns:
            ``indices`` and ``scores``, from the smallest score up.
        """
        options = {
            "explain": explain,
            "aggregate": aggregate,
            "test_loss": test_loss,
            "normalise": normalise,
            "on_progress": on_progress,
        }
        return rank(self, train, test, k, "opponents", options)

    def self_influence_by_module(
        self, examples: Any, *, on_progress: Progress | None = None
    ) -> dict[str, Tensor]:
        """Return what each module's own parameters add to self-influence, from one pass.

        Args:
            examples: N examples with targets.
            on_progress: Called with (examples done, all), each counted once per checkpoint.

        Returns:
            By the name of the module ("" for the model itself), shape ``(N,)`` each; together
            they are ``self_influence``.
        """
        with self._open_run(examples, "loss", on_progress) as context:
            return collect_by_module(context, Rates(self.rates))

    def influence_by_module(
        self,
        train: Any,
        test: Any,
        *,
        explain: Explain = "loss",
        aggregate: bool = False,
        test_loss: Loss | None = None,
    ) -> dict[str, Tensor]:
        """Return what each module's own parameters add to influence.

        It takes as long as one call of ``influence`` for each module; choose ``layers`` to look at
        some of them.

        Args:
            train: N examples with targets.
            test: M examples.
            explain: As in ``influence``, and so the other options.
            aggregate: Influences on the sum of all test losses.
            test_loss: Another loss for the test examples.

        Returns:
            By the name of the module, shapes as of ``influence``; together they are ``influence``.
        """
        modules = group_by_module(self.name_parameters(train))
        return {
            module: self.derive(layers=names).influence(
                train, test, explain=explain, aggregate=aggregate, test_loss=test_loss
            )
            for module, names in modules.items()
        }


def rank(
    engine: InfluenceQueries,
    train: Any,
    test: Any,
    k: int,
    side: Side,
    options: Mapping[str, Any],
) -> SearchResult:
    """Return the k first of a side for each test example; see ``InfluenceQueries.proponents``.

    Raises:
        ConfigurationError: If k is no number of examples.
    """
    if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
        raise ConfigurationError(
            f"Found k={k!r}; expected a whole number, 1 or more train examples for each test. "
            "Pass k=10 for the first ten."
        )
    num_train = count_examples(train)
    if options["aggregate"]:
        scores = engine.influence(train, test, **options).unsqueeze(1)
        indices, best = find_best(scores, min(k, num_train), side)
        return SearchResult(indices[0], best[0])
    size = max(64, HELD_INFLUENCES // max(1, num_train))
    found = [
        find_best(engine.influence(train, part, **options), min(k, num_train), side)
        for part in cut_examples(test, size)
    ]
    if not found:
        return SearchResult(np.zeros((0, k), dtype=np.int64), np.zeros((0, k)))
    return SearchResult(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def find_best(scores: Tensor, k: int, side: Side) -> SearchResult:
    """Return the k first of each column, shapes ``(M, k)``.

    Args:
        scores: Shape ``(N, M)``.
        k: At most N.
        side: "proponents" for the largest, "opponents" for the smallest.
    """
    sign = 1 if side == "proponents" else -1
    block = sign * scores.t().contiguous().double().numpy()
    best = TopK(len(block), k)
    if k:
        rows, columns = find_promising(block, best.floors, k, 0.0)
        best.offer(rows, columns, block[rows, columns])
    return SearchResult(best.positions, sign * best.scores)


def cut_examples(examples: Any, size: int) -> Iterator[Any]:
    """Yield a data set, a pair of tensors or a loader in parts of ``size`` examples, in order."""
    total, examples = count_examples(examples), open_columns(examples)
    if total <= size:
        yield from [examples] * bool(total)
        return
    for start in range(0, total, size):
        yield _take(examples, start, min(start + size, total))


def _take(examples: Any, start: int, stop: int) -> Any:
    if type(examples) is TensorDataset:
        return TensorDataset(*(tensor[start:stop] for tensor in examples.tensors))
    if isinstance(examples, Columns):
        return Columns(*examples.cut(start, stop))
    if not isinstance(examples, DataLoader):
        return Subset(examples, range(start, stop))
    batches: Any = examples.batch_sampler  # a plain one: others were refused
    return DataLoader(
        Subset(examples.dataset, range(start, stop)),
        batches.batch_size,
        collate_fn=examples.collate_fn,
        num_workers=examples.num_workers,
        generator=torch.Generator(),
    )


def group_by_module(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return parameters by the module that they belong to, in the model's order."""
    modules: dict[str, tuple[str, ...]] = {}
    for name in names:
        module = name.rpartition(".")[0]
        modules[module] = (*modules.get(module, ()), name)
    return modules


def collect_by_module(context: RunContext, rates: Rates) -> dict[str, Tensor]:
    """Return ``sum_i sum_p rate_ip |gradient_ip|^2`` over each module's own parameters p."""
    modules = group_by_module(context.chosen)
    sums = {module: torch.zeros(context.total, dtype=torch.float64) for module in modules}

    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        norms = measure_pass(step, context.chosen)
        total = sum_norms(norms, context.chosen, step)
        buffer.check(total, lambda values: context.check_finite(values, step))
        for module, names in modules.items():
            buffer.add(sums[module][rows_of(step)], sum_norms(norms, names, step, rates))

    context.run(consume)
    return {module: values.to(context.dtype) for module, values in sums.items()}


# The sum of gradients at each checkpoint, by parameter, shape (1, ...).
Sums = list[dict[str, Tensor]]


def collect_aggregate(train: RunContext, test: RunContext, rates: Rates) -> tuple[Tensor, float]:
    """Return the influences on the sum of all test losses, from one pass over each set.

    Args:
        train: The run over N train examples.
        test: The run over the test examples.
        rates: Of each parameter at each checkpoint.

    Returns:
        Shape ``(N,)``, and the influence of that sum on itself.
    """
    sums, scores = _sum_gradients(test), torch.zeros(train.total, dtype=torch.float64)

    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        _check(train, step, buffer)
        there = sums[step.checkpoint]
        gradients = step.captured.gradients
        products = {
            name: dot_products(gradients[name], [_as_one(there[name], step)])[:, 0]
            for name in train.chosen
            if name in gradients and name in there
        }
        if products:
            buffer.add(scores[rows_of(step)], rates.weigh(step.checkpoint, products))

    train.run(consume)
    own = sum(
        float(rates.weigh(at, {name: total.square().sum() for name, total in found.items()}))
        for at, found in enumerate(sums)
        if found
    )
    return scores.to(train.dtype), own


def _sum_gradients(test: RunContext) -> Sums:
    sums: Sums = [{} for _ in range(test.num_checkpoints)]

    @torch.no_grad()
    def consume(step: ExamplePass, buffer: ResultBuffer) -> None:
        _check(test, step, buffer)
        # Double precision where the device has it: thousands of examples are added.
        wide = torch.float32 if test.runner.device.type == "mps" else torch.float64
        found = {
            name: sum(
                (chunk.sum(0, keepdim=True, dtype=wide) for chunk in instantiate_chunks(parts)),
                start=torch.zeros((), dtype=wide, device=test.runner.device),
            )
            for name, parts in step.captured.gradients.items()
            if name in test.chosen
        }
        held = sums[step.checkpoint]
        held.update(
            {name: held[name] + one if name in held else one for name, one in found.items()}
        )

    test.run(consume)
    return sums


def _as_one(total: Tensor, step: ExamplePass) -> Dense:
    """Return a sum as the gradient of one example, in the precision of the pass."""
    narrow = total.to(step.captured.values.dtype)
    return Dense(narrow, narrow.shape[1:])


def _check(context: RunContext, step: ExamplePass, buffer: ResultBuffer) -> None:
    norms = sum_norms(measure_pass(step, context.chosen), context.chosen, step)
    buffer.check(norms, lambda values: context.check_finite(values, step))


def check_normalise(normalise: str | None) -> None:
    """Refuse what influences cannot be divided by.

    Raises:
        ConfigurationError: If it is unknown.
    """
    if normalise not in (None, "cosine", "relatif"):
        raise ConfigurationError(
            f"Found normalise={normalise!r}; expected 'cosine', 'relatif' or None. Use 'relatif' "
            "to divide by the length of the train example's gradients alone."
        )


def divide_by_lengths(scores: Tensor, own_train: Tensor, own_test: Tensor | None) -> Tensor:
    """Return influences divided by the lengths of gradients; 0 where one has none.

    The length is the root of self-influence. Over both it is the cosine of the gradients (Charpiat
    et al. 2019, arXiv:2102.05262, Sec. 2), over the train example's alone what RelatIF (Barshan et
    al. 2020, arXiv:2003.11630, Sec. 4) is with the identity in place of the Hessian, where both of
    its forms are the same.

    Args:
        scores: Shape ``(N, M)``, or ``(N,)`` on a whole test set.
        own_train: Self-influences of the train examples, shape ``(N,)``.
        own_test: Of the test examples, shape ``(M,)`` or ``()``; None for RelatIF.
    """
    wide = scores.double()
    lengths = own_train.double().sqrt()
    lengths = lengths.unsqueeze(1) if wide.dim() == 2 else lengths
    if own_test is not None:
        lengths = lengths * own_test.double().sqrt()
    return torch.where(lengths > 0, wide / lengths, 0.0).to(scores.dtype)
