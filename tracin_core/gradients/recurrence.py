"""Recurrent layers run step by step, with the gradients before their gates in the open.

torch runs a recurrent layer as one operation that shows no gate, or as thousands of small ones.
Here a layer and direction is one operation whose backward pass brings the gradients before the
gates: at the product with the inputs, at the product with the states, and at the projection of
the states. Each of the three is then a Linear over time. What follows from what was computed
before alone is done for all steps at once; a step back in time takes three to six operations.

Steps are laid out as in a ``PackedSequence``: rows of step 0, rows of step 1, and so on, sorted so
that a later step has the first rows of an earlier one. An unpacked batch has all rows in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Steps:
    """How the rows of a batch lie in time.

    Attributes:
        sizes: Rows of each step.
        is_packed: Whether tensors are ``(N, ...)``, all rows after each other, or
            ``(B, T, ...)``.
        is_reversed: Whether the last step comes first.
    """

    sizes: tuple[int, ...]
    is_packed: bool
    is_reversed: bool = False

    @property
    def order(self) -> range:
        """The steps in the order in which they are taken."""
        count = len(self.sizes)
        return range(count - 1, -1, -1) if self.is_reversed else range(count)

    def lay_out(self, values: Tensor) -> Tensor:
        """Return rows ``(N, ...)`` in the order of time."""
        return values if self.is_packed else values.transpose(0, 1).flatten(0, 1)

    def restore(self, rows: Tensor) -> Tensor:
        """Return rows as the batch has them."""
        if self.is_packed:
            return rows
        return rows.reshape(len(self.sizes), -1, rows.shape[1]).transpose(0, 1)

    def cut(self, rows: Tensor) -> Sequence[Tensor]:
        """Return the rows of each step."""
        return torch.split(rows, list(self.sizes))


class InputProduct(torch.autograd.Function):
    """Product of the inputs with their weights, plus biases."""

    keeps_rows = True

    @staticmethod
    def forward(
        ctx: Any, steps: Steps, bias: Tensor | None, inputs: Tensor, *parameters: Tensor | None
    ) -> Tensor:
        """Return the inputs' part before the gates.

        Args:
            ctx: What the way back needs.
            steps: How rows lie.
            bias: What is added.
            inputs: Rows of all steps.
            parameters: The weight, and all that the gradients at the result are for: as far as
                the gradient graph knows, the result depends on them.
        """
        weight = parameters[0]
        assert weight is not None  # noqa: S101 - only biases can be missing
        ctx.steps, ctx.count = steps, len(parameters)
        ctx.save_for_backward(weight)
        rows = steps.lay_out(inputs)
        if bias is None:
            return steps.restore(rows @ weight.t())
        return steps.restore(torch.addmm(bias, rows, weight.t()))

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> Any:
        """Return the gradients at the inputs; those of parameters are a rule's."""
        (weight,) = ctx.saved_tensors
        found = None
        if ctx.needs_input_grad[2]:
            found = ctx.steps.restore(ctx.steps.lay_out(gradients) @ weight)
        return (None, None, found, *[None] * ctx.count)


class Probe(torch.autograd.Function):
    """Zeros whose gradients are those at a product that the recurrence takes by itself."""

    keeps_rows = True

    @staticmethod
    def forward(ctx: Any, shape: torch.Size, *parameters: Tensor | None) -> Tensor:
        """Return zeros that depend on the parameters as far as the gradient graph knows."""
        ctx.count = len(parameters)
        weight = parameters[0]
        assert weight is not None  # noqa: S101 - a bias alone makes no product
        return weight.new_zeros(()).expand(shape)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> Any:
        """Return nothing: gradients of parameters are a rule's."""
        return (None, *[None] * ctx.count)


class Run(Protocol):
    """One run of a cell over time, and what it leaves for the way back.

    Attributes:
        before: The state before each step, rows in the order of time.
        projected: What is projected to the state after each step, where anything is.
    """

    before: Tensor
    projected: Tensor | None

    def advance(self, inputs: Tensor, state: Tensor, memory: Tensor | None) -> Tensor:
        """Take all steps.

        Args:
            inputs: Their part before the gates, rows in the order of time.
            state: Changed from the first to the last, shape ``(B, size)``.
            memory: The same of an LSTM's cells.

        Returns:
            The state after each step, rows in the order of time.
        """

    def retreat(
        self, gradients: Tensor, state: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Take all steps back.

        Args:
            gradients: At the state after each step.
            state: Gradients at the last state; changed to those at the first.
            memory: The same of an LSTM's cells.

        Returns:
            The gradients before the gates: at the inputs' part; at the states' part where they
            differ; and at the projection where there is one.
        """


@dataclass(frozen=True)
class Weights:
    """What a recurrence needs beside its inputs.

    Attributes:
        state: Of the product with the states, shape ``(gates, size)``.
        bias: Added to that product, where it is not added with the inputs.
        projection: From an LSTM's outputs to its states.
    """

    state: Tensor
    bias: Tensor | None = None
    projection: Tensor | None = None


class PlainRun:
    """``h' = f(x + W h)``, with tanh or relu.

    Args:
        steps: How rows lie.
        weights: The weights.
        is_relu: Whether f is relu.
    """

    projected: Tensor | None = None

    def __init__(self, steps: Steps, weights: Weights, *, is_relu: bool = False) -> None:
        self.steps, self.weights, self.is_relu = steps, weights, is_relu

    def advance(self, inputs: Tensor, state: Tensor, memory: Tensor | None) -> Tensor:
        """See ``Run``."""
        weight, cut = self.weights.state.t(), self.steps.cut
        self.before = inputs.new_empty(len(inputs), state.shape[1])
        self.after = torch.empty_like(inputs)
        given, before, after = cut(inputs), cut(self.before), cut(self.after)
        for step in self.steps.order:
            now, result = state[: len(given[step])], after[step]
            before[step].copy_(now)
            torch.addmm(given[step], now, weight, out=result)
            now.copy_(result.relu_() if self.is_relu else result.tanh_())
        return self.after

    def retreat(
        self, gradients: Tensor, state: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """See ``Run``."""
        cut = self.steps.cut
        after = self.after
        slopes = (after > 0).to(after.dtype) if self.is_relu else 1 - after.square()
        deltas = torch.empty_like(slopes)
        given, slope, delta = cut(gradients), cut(slopes), cut(deltas)
        for step in reversed(self.steps.order):
            now, result = state[: len(given[step])], delta[step]
            torch.mul(now.add_(given[step]), slope[step], out=result)
            torch.mm(result, self.weights.state, out=now)
        return deltas, None, None


class GatedRun:
    """A GRU: ``n = tanh(x_n + r (W_n h + b_n))``, ``h' = (1 - z) n + z h``.

    Args:
        steps: How rows lie.
        weights: The weights, rows of the gates r, z and n.
    """

    projected: Tensor | None = None

    def __init__(self, steps: Steps, weights: Weights) -> None:
        self.steps, self.weights = steps, weights

    def advance(self, inputs: Tensor, state: Tensor, memory: Tensor | None) -> Tensor:
        """See ``Run``."""
        cut, size = self.steps.cut, state.shape[1]
        weight, bias = self.weights.state.t(), self.weights.bias
        self.before = inputs.new_empty(len(inputs), size)
        after = torch.empty_like(self.before)
        self.gates, self.products = torch.empty_like(inputs), torch.empty_like(inputs)
        pairs, candidates = self.gates[:, : 2 * size], self.gates[:, 2 * size :]
        given, before, result, product = map(cut, (inputs, self.before, after, self.products))
        pair, candidate, reset, update = map(
            cut, (pairs, candidates, pairs[:, :size], pairs[:, size:])
        )
        for step in self.steps.order:
            now, own = state[: len(given[step])], product[step]
            before[step].copy_(now)
            if bias is None:
                torch.mm(now, weight, out=own)
            else:
                torch.addmm(bias, now, weight, out=own)
            torch.add(given[step][:, : 2 * size], own[:, : 2 * size], out=pair[step]).sigmoid_()
            fresh = candidate[step]
            torch.addcmul(
                given[step][:, 2 * size :], reset[step], own[:, 2 * size :], out=fresh
            ).tanh_()
            now.sub_(fresh).mul_(update[step]).add_(fresh)
            result[step].copy_(now)
        return after

    def retreat(
        self, gradients: Tensor, state: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """See ``Run``."""
        cut, size = self.steps.cut, state.shape[1]
        reset, update, fresh = torch.split(self.gates, size, 1)
        # All gradients before the gates are multiples of the gradient at the state.
        to_fresh = (1 - update) * (1 - fresh.square())
        factors = self.gates.new_empty(len(self.gates), 3, size)
        factors[:, 0] = to_fresh * self.products[:, 2 * size :] * reset * (1 - reset)
        factors[:, 1] = (self.before - fresh) * update * (1 - update)
        torch.mul(to_fresh, reset, out=factors[:, 2])
        deltas, at_states = torch.empty_like(self.gates), torch.empty_like(gradients)
        given, factor, keep, delta, at_state = map(
            cut, (gradients, factors, update, deltas, at_states)
        )
        for step in reversed(self.steps.order):
            now, own = state[: len(given[step])], at_state[step]
            torch.add(now, given[step], out=own)
            torch.mul(own.unsqueeze(1), factor[step], out=delta[step].view(-1, 3, size))
            torch.mul(own, keep[step], out=now)
            now.addmm_(delta[step], self.weights.state)
        at_inputs = deltas.clone()
        torch.mul(at_states, to_fresh, out=at_inputs[:, 2 * size :])
        return at_inputs, deltas, None


class MemoryRun:
    """An LSTM: ``c' = f c + i g``, ``h' = W_r (o tanh(c'))``, ``W_r`` being there or not.

    Args:
        steps: How rows lie.
        weights: The weights, rows of the gates i, f, g and o.
    """

    def __init__(self, steps: Steps, weights: Weights) -> None:
        self.steps, self.weights = steps, weights
        self.projected: Tensor | None = None

    def advance(self, inputs: Tensor, state: Tensor, memory: Tensor | None) -> Tensor:
        """See ``Run``."""
        assert memory is not None  # noqa: S101 - an LSTM has one
        cut, size, count = self.steps.cut, memory.shape[1], len(inputs)
        weight, projection = self.weights.state.t(), self.weights.projection
        self.before = inputs.new_empty(count, state.shape[1])
        self.memories, self.squashed = inputs.new_empty(2, count, size)
        self.gates, results = torch.empty_like(inputs), inputs.new_empty(count, size)
        after = results if projection is None else torch.empty_like(self.before)
        self.projected = None if projection is None else results
        given, before, memories, gates = map(cut, (inputs, self.before, self.memories, self.gates))
        squashed, result, projected = map(cut, (self.squashed, results, after))
        pairs, thirds, lasts = map(
            cut,
            (
                self.gates[:, : 2 * size],
                self.gates[:, 2 * size : 3 * size],
                self.gates[:, 3 * size :],
            ),
        )
        for step in self.steps.order:
            rows = len(given[step])
            now, cells = state[:rows], memory[:rows]
            before[step].copy_(now)
            memories[step].copy_(cells)
            torch.addmm(given[step], now, weight, out=gates[step])
            pair, third = pairs[step].sigmoid_(), thirds[step].tanh_()
            cells.mul_(pair[:, size:]).addcmul_(pair[:, :size], third)
            torch.tanh(cells, out=squashed[step])
            torch.mul(lasts[step].sigmoid_(), squashed[step], out=result[step])
            if projection is not None:
                torch.mm(result[step], projection.t(), out=projected[step])
            now.copy_(projected[step])
        return after

    def retreat(
        self, gradients: Tensor, state: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """See ``Run``."""
        assert memory is not None  # noqa: S101 - an LSTM has one
        cut, size, projection = self.steps.cut, memory.shape[1], self.weights.projection
        enter, forget, fresh, leave = torch.split(self.gates, size, 1)
        factors = self.gates.new_empty(len(self.gates), 3, size)
        torch.mul(fresh, enter * (1 - enter), out=factors[:, 0])
        torch.mul(self.memories, forget * (1 - forget), out=factors[:, 1])
        torch.mul(enter, 1 - fresh.square(), out=factors[:, 2])
        to_leave = self.squashed * leave * (1 - leave)
        to_memory = leave * (1 - self.squashed.square())
        deltas, at_states = torch.empty_like(self.gates), torch.empty_like(gradients)
        given, factor, keep, delta, at_state = map(
            cut, (gradients, factors, forget, deltas, at_states)
        )
        to_leaves, to_memories = cut(to_leave), cut(to_memory)
        for step in reversed(self.steps.order):
            rows = len(given[step])
            now, cells, own = state[:rows], memory[:rows], delta[step]
            at_output = torch.add(now, given[step], out=at_state[step])
            if projection is not None:
                at_output = at_output @ projection
            cells.addcmul_(at_output, to_memories[step])
            first = own[:, : 3 * size].view(-1, 3, size)
            torch.mul(cells.unsqueeze(1), factor[step], out=first)
            torch.mul(at_output, to_leaves[step], out=own[:, 3 * size :])
            cells.mul_(keep[step])
            torch.mm(own, self.weights.state, out=now)
        return deltas, None, None if projection is None else at_states


class Recurrence(torch.autograd.Function):
    """A layer and direction, from the inputs' part before the gates to states."""

    keeps_rows = True

    @staticmethod
    def forward(
        ctx: Any,
        run: Run,
        steps: Steps,
        inputs: Tensor,
        state_probe: Tensor | None,
        projection_probe: Tensor | None,
        state: Tensor,
        memory: Tensor | None,
    ) -> Any:
        """Return the state after each step, the last state and, of an LSTM, the last cells."""
        ctx.run, ctx.steps = run, steps
        last, cells = state.clone(), None if memory is None else memory.clone()
        after = run.advance(steps.lay_out(inputs).contiguous(), last, cells)
        # Copied: a view may not be changed in place, and the way back needs what ``run`` keeps.
        results = steps.restore(after).clone()
        return (results, last) if cells is None else (results, last, cells)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor, state: Tensor, memory: Tensor | None = None) -> Any:
        """Return the gradients before the gates and at the first state."""
        steps: Steps = ctx.steps
        first = state.clone()
        cells = None if memory is None else memory.clone()
        at_inputs, at_states, at_projection = ctx.run.retreat(
            steps.lay_out(gradients).contiguous(), first, cells
        )
        projected = None if at_projection is None else steps.restore(at_projection)
        states = None if at_states is None else steps.restore(at_states)
        return None, None, steps.restore(at_inputs), states, projected, first, cells
