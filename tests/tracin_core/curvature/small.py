"""A small network near a minimum, and the explicit Hessian of its mean train loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.utils.data import TensorDataset

from tests import oracles
from tracin_core import AttributionSetup, Checkpoint, TracIn, get_method
from tracin_core.curvature.frozen import choose_smooth_loss
from tracin_core.losses import Loss

LOSSES: tuple[Loss, ...] = ("cross_entropy", "mse", "binary_cross_entropy")


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def make_images() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 2, stride=2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3)
    ).double()


def make_examples(
    count: int, seed: int, loss: Loss = "cross_entropy", shape: Sequence[int] = (3,)
) -> TensorDataset:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, *shape, generator=draw, dtype=torch.float64)
    if loss == "cross_entropy":
        return TensorDataset(inputs, torch.randint(3, (count,), generator=draw))
    targets = torch.randn(count, 3, generator=draw, dtype=torch.float64)
    return TensorDataset(inputs, targets if loss == "mse" else (targets > 0).double())


def make_tracin(
    model: nn.Module | None = None, loss: Loss = "cross_entropy", batch_size: int = 8
) -> TracIn:
    model = model or make_model()
    return TracIn(
        model, Checkpoint(model.state_dict(), 1.0), loss, device="cpu", batch_size=batch_size
    )


def attribute(tracin: TracIn, **options):
    return get_method("influence_functions").make(AttributionSetup(tracin=tracin, options=options))


def name_parameters(model: nn.Module, layers: str) -> list[str]:
    names = [name for name, _ in model.named_parameters()]
    return names[-2:] if layers == "last" else names


def _as_function(model: nn.Module, names: Sequence[str], inputs: Tensor):
    shapes = [model.get_parameter(name).shape for name in names]

    def run(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        # A copy: what changes its argument in place is not for functional derivatives.
        return functional_call(model, weights, inputs.clone())

    start = torch.cat([model.get_parameter(name).detach().flatten() for name in names])
    return run, start


def explicit_curvature(
    model: nn.Module, examples: TensorDataset, loss: Loss, names: Sequence[str], kind: str
) -> Tensor:
    """Hessian or Gauss-Newton matrix of the mean loss, one column of derivatives after another."""
    inputs, targets = examples.tensors
    run, start = _as_function(model, names, inputs)
    loss_function = choose_smooth_loss(loss)
    if kind == "hessian":
        return hessian(lambda flat: loss_function(run(flat), targets).mean(), start)
    slopes = jacobian(run, start)
    outputs, total = run(start), torch.zeros(len(start), len(start), dtype=torch.float64)
    for n in range(len(inputs)):
        at = hessian(lambda row, n=n: loss_function(row[None], targets[n : n + 1])[0], outputs[n])
        total += slopes[n].T @ at @ slopes[n]
    return total / len(inputs)


def gradients(model: nn.Module, examples: TensorDataset, loss: Loss, names: Sequence[str]):
    return oracles.per_example_gradients(model, examples, choose_smooth_loss(loss), names)


def explicit_influence(
    model: nn.Module,
    train: TensorDataset,
    test: TensorDataset,
    loss: Loss,
    layers: str = "last",
    kind: str = "gauss_newton",
    damping: float = 0.01,
) -> Tensor:
    """``g(test)^T (H + damping)^-1 g(train) / N``, shape (N, M)."""
    names = name_parameters(model, layers)
    matrix = explicit_curvature(model, train, loss, names, kind)
    matrix += damping * torch.eye(len(matrix), dtype=torch.float64)
    left, right = (gradients(model, part, loss, names) for part in (train, test))
    return left @ torch.linalg.solve(matrix, right.T) / len(train)


def read_positions(layer, inputs):
    """Each position's inputs and a one for the bias, shape (N, T, I + 1); a patch at a time."""
    if isinstance(layer, nn.Conv2d):
        places = [(i, j) for i in range(0, 4, 2) for j in range(0, 4, 2)]
        inputs = torch.stack([inputs[:, :, i : i + 2, j : j + 2].flatten(1) for i, j in places], 1)
    else:
        inputs = inputs[:, None]
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], 2)


def explicit_ekfac(model, train, damping):
    """EK-FAC by its definition: eigenvectors of covariances, eigenvalues diag(Q^T H Q)."""
    inputs, blocks = train.tensors[0], []
    shares = model(inputs.clone()).softmax(1).detach()
    for place, layer in enumerate(model):
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        taken = model[:place](inputs.clone()).detach()
        rows = read_positions(layer, taken).flatten(0, 1)
        covariance = torch.zeros(len(layer.weight), len(layer.weight), dtype=torch.float64)
        for one in torch.eye(3, dtype=torch.float64):
            given = layer(taken).detach().requires_grad_()
            root = (shares @ one).sqrt()[:, None] * (shares - one)
            logits = model[place + 1 :](given.clone())
            (slopes,) = torch.autograd.grad((logits * root).sum(), given)
            slopes = slopes.reshape(len(inputs), len(covariance), -1).transpose(1, 2).flatten(0, 1)
            covariance += slopes.T @ slopes
        left = torch.linalg.eigh(rows.T @ rows).eigenvectors
        right = torch.linalg.eigh(covariance).eigenvectors
        # The engine's order: the weight (O, I) and then the bias (O,).
        size, width = rows.shape[1], len(covariance)
        order = [o * size + i for o in range(width) for i in range(size - 1)]
        order += [o * size + size - 1 for o in range(width)]
        basis = torch.kron(right, left)[order]
        here = [f"{place}.weight", f"{place}.bias"]
        matrix = explicit_curvature(model, train, "cross_entropy", here, "gauss_newton")
        values = (basis.T @ matrix @ basis).diagonal() + damping
        blocks.append(basis @ torch.diag(1 / values) @ basis.T)
    return torch.block_diag(*blocks)
