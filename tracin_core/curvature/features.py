"""What the last layer takes and gives for every example, at the last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tracin_core.capture.batching import read_batches
from tracin_core.curvature.frozen import FrozenModel
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.nested import call_model
from tracin_core.losses import find_logits
from tracin_core.tracin import TracIn


@dataclass(frozen=True)
class Features:
    """The last layer's inputs and the model's outputs, on the CPU.

    Attributes:
        inputs: Shape ``(N, I)``, or ``(N, ..., I)`` where an example has several positions.
        outputs: The model's outputs, shape ``(N, K)``.
        targets: Their targets joined, or None without.
        is_head: Whether the outputs are exactly what the last layer gave: one ``nn.Linear``.
        parameters: Names of the last layer's weight and bias, in the model's order.
        weight: Its weight at the checkpoint, shape ``(K, I)``; empty if it is no ``nn.Linear``.
        bias: Its bias, shape ``(K,)``, if it has one.
    """

    inputs: Tensor
    outputs: Tensor
    targets: Tensor | None
    is_head: bool
    parameters: tuple[str, ...]
    weight: Tensor
    bias: Tensor | None

    @property
    def pooled(self) -> Tensor:
        """The inputs as one vector an example, averaged over positions, shape ``(N, I)``."""
        return self.inputs if self.inputs.dim() == 2 else self.inputs.flatten(1, -2).mean(1)


def collect_features(tracin: TracIn, examples: Any) -> Features:
    """Return what reaches and leaves the last layer, for N examples.

    Args:
        tracin: The engine; its last checkpoint is taken, and its last layer is found on the
            first examples where it is not known.
        examples: N examples.

    Raises:
        ConfigurationError: If the last layer is not one module that takes one tensor.
    """
    single, examples = tracin.at_checkpoint(layers="last"), tracin.open_examples(examples)
    names = single.name_parameters(examples)
    if not names:
        raise ConfigurationError(
            "Found no example; expected at least one, on which the last layer is found."
        )
    # By its parameters: a last layer that a person named may name those instead of a module.
    modules = tuple(dict.fromkeys(map(_name_module, names)))
    if len(modules) != 1:
        raise ConfigurationError(
            f"Found a last layer of {len(modules)} modules ({', '.join(modules[:3])}); expected "
            "one, whose inputs are the features. Pass last_layer= with the name of one."
        )
    collector = _Collector(single, names, modules[0], examples)
    return collector.run(examples)


class _Collector:
    def __init__(self, tracin: TracIn, names: tuple[str, ...], module: str, examples: Any) -> None:
        first = next(read_batches(examples, min(3, tracin.batch_size)))
        self._batch_size = tracin.batch_size
        self._frozen = FrozenModel(tracin, names, first)
        self._names = names
        self._layer = self._frozen.model.get_submodule(module)
        self._prefix = f"{module}." if module else ""

    @torch.no_grad()
    def run(self, examples: Any) -> Features:
        calls: list[tuple[Any, Any]] = []
        handle = self._layer.register_forward_hook(
            lambda _, args, output: calls.append((args[0] if args else None, output))
        )
        inputs, outputs, targets, is_head = [], [], [], self._is_plain()
        try:
            for batch in read_batches(examples, self._batch_size):
                calls.clear()
                moved = self._frozen.prepare(batch)
                logits = find_logits(call_model(self._frozen.model, moved.inputs))
                taken, given = calls[-1] if calls else (None, None)
                if logits is None or not isinstance(taken, Tensor) or len(taken) != batch.size:
                    raise ConfigurationError(
                        "The last layer does not take one tensor with the examples along its "
                        "first axis; expected features. Pass last_layer= with the name of a layer "
                        "that does."
                    )
                is_head &= len(calls) == 1 and taken.dim() == 2 and logits.dim() == 2
                is_head &= isinstance(given, Tensor) and torch.equal(given, logits)
                inputs.append(taken.cpu())
                outputs.append(
                    logits.flatten(1).cpu() if logits.dim() > 1 else logits[:, None].cpu()
                )
                targets.append(moved.targets)
        finally:
            handle.remove()
        known = all(isinstance(value, Tensor) for value in targets)
        weight, bias = self._read_layer()
        return Features(
            inputs=torch.cat(inputs),
            outputs=torch.cat(outputs),
            targets=torch.cat([value.cpu() for value in targets]) if known else None,
            is_head=is_head,
            parameters=self._names,
            weight=weight,
            bias=bias,
        )

    def _is_plain(self) -> bool:
        """Return whether the last layer is an ordinary Linear one with all its parameters."""
        own = {name.removeprefix(self._prefix) for name in self._names}
        wanted = {"weight"} | (
            {"bias"} if getattr(self._layer, "bias", None) is not None else set()
        )
        return type(self._layer) is nn.Linear and own == wanted

    def _read_layer(self) -> tuple[Tensor, Tensor | None]:
        if not isinstance(self._layer, nn.Linear):
            return torch.zeros(0, 0), None
        bias = self._layer.bias
        return self._layer.weight.detach().cpu(), None if bias is None else bias.detach().cpu()


def _name_module(parameter: str) -> str:
    """Return the name of the module that a parameter belongs to, parametrised or not."""
    owner, parametrised, _ = parameter.partition(".parametrizations.")
    return owner if parametrised else parameter.rpartition(".")[0]
