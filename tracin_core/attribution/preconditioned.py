"""TracIn with the steps of adaptive optimizers: gradients divided as Adam divides them.

The TracIn FAQ derives the plain equation for other optimizers too; there the step on a train
example's gradient is ``rate * P gradient`` with Adam's preconditioner P in its place. Momentum,
which mixes the examples of earlier steps in, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tracin_core.attribution import AttributionSetup, Need, register_attributor
from tracin_core.attribution.options import read_options

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.projection.config import Projection
    from tracin_core.tracin import TracIn


@register_attributor(
    "tracin_adam",
    "TracIn with Adam's steps",
    scores={"self_influence_adam": "Self-influence (Adam's steps)"},
    quantity="self-influence",
)
class PreconditionedTracIn:
    """``sum_i rate_i gradient_i(z) . P_i gradient_i(z')``, with P from each checkpoint's optimizer.

    P is ``1 / (sqrt(v) + eps)`` of Adam, AdamW, RMSprop or Adagrad. Options: ``layers``, "last" or
    "all".
    """

    needs: frozenset[Need] = frozenset(
        {"checkpoints", "learning rates", "loss", "labels", "last layer", "gradients"}
    )

    def __init__(self, setup: AttributionSetup) -> None:
        given = {name: value for name, value in setup.options.items() if name != "rates"}
        options = read_options("TracIn with Adam's steps", given, {"layers": "last"})
        self.configuration: Mapping[str, Any] = {"rates": setup.rates, **options}
        self._tracin, self._layers, self._rates = setup.tracin, options["layers"], setup.rates

    def scores(self, train: Any) -> dict[str, Tensor]:
        """Return self-influences of N examples, shape ``(N,)``, in loss units.

        Raises:
            CheckpointError: If a checkpoint has no state of an adaptive optimizer.
        """
        import torch

        from tracin_core.capture.batching import count_examples

        total = torch.zeros(count_examples(train), dtype=torch.float64)
        for single, scale in self._steps(train):
            part = torch.zeros_like(total)
            single.stream_gradients(train, partial(_put_squares, part, scale.double()))
            total += part
        return {"self_influence_adam": total}

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return the influence of N train on M test examples, shape ``(N, M)``, in loss units."""
        return self.vectors(train) @ self.vectors(test).t()

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return ``sqrt(rate P) gradient`` of all checkpoints end to end, shape ``(N, D)``.

        Args:
            examples: N examples.
            projection: To so many numbers for each checkpoint; None for all.
        """
        import torch

        from tracin_core.projection.rows import project_rows

        blocks = []
        for single, scale in self._steps(examples):
            rows = single.vectors(examples).double() * scale.sqrt().cpu()
            blocks.append(rows if projection is None else project_rows(rows, projection))
        return torch.cat(blocks, 1)

    def _steps(self, examples: Any) -> Iterator[tuple[TracIn, Tensor]]:
        """Yield the engine at each checkpoint with ``rate P`` of its parameters, ``(P,)``."""
        import torch

        from tracin_core.checkpoints.preconditioner import read_preconditioner

        for index, (checkpoint, rate) in enumerate(
            zip(self._tracin.checkpoints, self._tracin.rates, strict=True)
        ):
            single = self._tracin.at_checkpoint(index, layers=self._layers)
            inverse = read_preconditioner(checkpoint, self._tracin.model)
            parts = []
            for name in single.name_parameters(examples):
                own = rate if isinstance(rate, int | float) else rate[name]
                parts.append((1.0 if self._rates == "ones" else own) * inverse[name].flatten())
            yield single, torch.cat(parts).to(single.device)


def _put_squares(result: Tensor, scale: Tensor, first: int, rows: Tensor) -> None:
    """Write a batch's scaled squared norms; one that comes again replaces what it brought."""
    result[first : first + len(rows)] = (rows.double().square() @ scale).cpu()
