"""Per-example gradients of LSTM, GRU and plain recurrent layers.

While a batch is recorded such a layer runs as ``gradients/recurrence.py`` runs it. What the
backward pass brings to the three products of a layer and direction makes each of them a Linear
over time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from tracin_core.gradients.factored import Contribution, Dense, Outer
from tracin_core.gradients.precision import add_wide
from tracin_core.gradients.recurrence import (
    GatedRun,
    InputProduct,
    MemoryRun,
    PlainRun,
    Probe,
    Recurrence,
    Run,
    Steps,
    Weights,
)
from tracin_core.gradients.rules.registry import Record, gradient_rule

# As many as anybody stacks; a layer with more is left to the operations that read its weights.
MOST_LAYERS = 32
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
NAMES = tuple(
    f"{kind}_l{layer}{suffix}"
    for layer in range(MOST_LAYERS)
    for suffix in ("", "_reverse")
    for kind in KINDS
)

Layer = nn.LSTM | nn.GRU | nn.RNN


@dataclass(frozen=True)
class Direction:
    """One layer and direction of a recurrent module.

    Attributes:
        module: The module.
        suffix: Of its parameters' names, as ``_l0_reverse``.
        record: Notes a product and its inputs.
    """

    module: Layer
    suffix: str
    record: Record

    def read(self, kind: str) -> Tensor | None:
        """Return a parameter, as it is in place."""
        return self.module._parameters.get(kind + self.suffix)

    def run(
        self, steps: Steps, inputs: Tensor, state: Tensor, memory: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the state after each step, the last state and, of an LSTM, the last cells."""
        weight_ih, weight_hh, weight_hr = map(self.read, ("weight_ih", "weight_hh", "weight_hr"))
        bias_ih, bias_hh = map(self.read, ("bias_ih", "bias_hh"))
        assert weight_ih is not None and weight_hh is not None  # noqa: S101, PT018 - always there
        is_gated = isinstance(self.module, nn.GRU)
        own = (weight_hh, bias_hh)
        bias, anchored = bias_ih, [weight_ih, bias_ih]
        if not is_gated:  # both products have the same gradients
            bias = None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
            anchored += own
        bias = None if bias is None else bias.detach()
        product = InputProduct.apply(steps, bias, inputs, *anchored)
        probe = Probe.apply(product.shape, *own) if is_gated else None
        projection = None
        if weight_hr is not None:
            projection = Probe.apply((*product.shape[:-1], len(weight_hr)), weight_hr)
        weights = Weights(
            weight_hh.detach(),
            bias_hh.detach() if is_gated and bias_hh is not None else None,
            None if weight_hr is None else weight_hr.detach(),
        )
        run = self._make_run(steps, weights)
        results = Recurrence.apply(run, steps, product, probe, projection, state, memory)
        given = {"ih": inputs.detach()}
        before = {"hh": steps.restore(run.before)}
        if probe is not None:
            self._note(before, probe)
            self._note(given, product)
        else:
            self._note({**given, **before}, product)
        if projection is not None and run.projected is not None:
            self._note({"hr": steps.restore(run.projected)}, projection)
        found: tuple[Tensor, ...] = results
        return found

    def _make_run(self, steps: Steps, weights: Weights) -> Run:
        if isinstance(self.module, nn.LSTM):
            return MemoryRun(steps, weights)
        if isinstance(self.module, nn.GRU):
            return GatedRun(steps, weights)
        return PlainRun(steps, weights, is_relu=self.module.nonlinearity == "relu")

    def _note(self, inputs: dict[str, Tensor], product: Tensor) -> None:
        """Record a result that is the product of each of some inputs with its weight."""
        factors = [(f"_{kind}{self.suffix}", values) for kind, values in inputs.items()]
        names = [
            name
            for ending, _ in factors
            for name in ("weight" + ending, "bias" + ending)
            if self.module._parameters.get(name) is not None
        ]
        self.record(tuple(factors), product, names)


def expose_products(module: Layer, record: Record) -> Callable[..., Any]:
    """Return a forward of a recurrent module that records its products.

    Args:
        module: The module.
        record: Notes a product, its inputs and its parameters.

    Returns:
        What stands in for its ``forward``: the same results up to rounding.
    """
    own = module.forward

    def forward(input: Any, hx: Any = None) -> Any:
        rows = input.data if isinstance(input, PackedSequence) else input
        is_packed = rows is not input
        if rows.dim() != 3 - is_packed or (module.training and module.dropout):
            return own(input, hx)  # one sequence alone, or dropout
        # What the gates saturate at is lost in half precision; weights say what to compute in.
        with torch.autocast(rows.device.type, enabled=False):
            return _run_layers(module, record, input, rows, hx)

    return forward


def _run_layers(module: Layer, record: Record, given: Any, rows: Tensor, hx: Any) -> Any:
    packed = given if isinstance(given, PackedSequence) else None
    is_time_first = packed is None and not module.batch_first
    values = rows.transpose(0, 1) if is_time_first else rows
    if packed is not None:
        sizes = tuple(packed.batch_sizes.tolist())
    else:
        sizes = (len(values),) * values.shape[1]
    states, memories = _split_states(module, packed, hx, values, sizes[0])
    directions = 2 if module.bidirectional else 1
    values = values.to(_number_type(module))
    last: list[tuple[Tensor, ...]] = []
    for layer in range(module.num_layers):
        results = []
        for way in range(directions):
            steps = Steps(sizes, packed is not None, bool(way))
            direction = Direction(module, f"_l{layer}{'_reverse' * way}", record)
            number = layer * directions + way
            after, *ends = direction.run(steps, values, states[number], memories[number])
            results.append(after)
            last.append(tuple(ends))
        values = torch.cat(results, -1) if directions > 1 else results[0]
    ends = [torch.stack(each) for each in zip(*last, strict=True)]
    if packed is not None:
        if packed.unsorted_indices is not None:
            ends = [each.index_select(1, packed.unsorted_indices) for each in ends]
        order = (packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        outputs: Any = PackedSequence(values, *order)
    else:
        outputs = values.transpose(0, 1) if is_time_first else values
    return outputs, ends[0] if len(ends) == 1 else tuple(ends)


def _number_type(module: Layer) -> torch.dtype:
    weight: Any = module.weight_ih_l0
    kind: torch.dtype = weight.dtype
    return kind


def _split_states(
    module: Layer, packed: PackedSequence | None, hx: Any, values: Tensor, size: int
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Return the first state, and an LSTM's first cells, of each layer and direction."""
    count = module.num_layers * (2 if module.bidirectional else 1)
    is_memory = isinstance(module, nn.LSTM)
    if hx is None:
        widths = [module.proj_size or module.hidden_size, module.hidden_size][: 1 + is_memory]
        kind = _number_type(module)
        whole = [values.new_zeros(count, size, width, dtype=kind) for width in widths]
    else:
        # As under autocast, where a state may come from a layer in half precision.
        whole = [each.to(_number_type(module)) for each in (hx if is_memory else [hx])]
        if packed is not None and packed.sorted_indices is not None:
            whole = [each.index_select(1, packed.sorted_indices) for each in whole]
    cells: list[Tensor | None] = [None] * count
    if is_memory:
        cells = list(whole[1].unbind(0))
    return list(whole[0].unbind(0)), cells


def _refuse_computed_weights(layer: Layer) -> str | None:
    if any(layer._parameters.get(name) is None for name in layer._flat_weights_names):
        return "some of its weights are computed from other parameters"
    return None


@gradient_rule(
    nn.LSTM,
    nn.GRU,
    nn.RNN,
    refuses=_refuse_computed_weights,
    parameters=NAMES,
    exposes=expose_products,
)
def recurrent_gradients(
    layer: Layer, arguments: tuple[Any, ...], output_gradients: Tensor
) -> dict[str, Contribution]:
    """Return the gradients of the weights and biases of one or two products.

    Args:
        layer: The module.
        arguments: For each product the ending of its parameters' names and its inputs, shape
            ``(B, T, I)``, or rows ``(N, I)`` of a packed sequence.
        output_gradients: At the result, shape ``(B, T, O)`` or ``(N, O)``.

    Returns:
        By name: outer products over time, and biases as ``(B, O)``.
    """
    rows, width = len(output_gradients), output_gradients.shape[-1]
    deltas = output_gradients.reshape(rows, -1, width)
    gradients: dict[str, Contribution] = {}
    bias, first = Dense(add_wide(deltas, 1), torch.Size((width,))), None
    for ending, inputs in arguments:
        factors = inputs.reshape(rows, -1, inputs.shape[-1])
        shape = torch.Size((width, inputs.shape[-1]))
        outer = Outer(deltas, factors, shape, twin=first)
        first = first or outer
        gradients["weight" + ending], gradients["bias" + ending] = outer, bias
    return gradients
