"""Influences by captum, dattri and kronfluence, called as their documentation says.

Each function takes the engine over a small network and TensorDatasets of N train and M test
examples, and returns a matrix of shape ``(N, M)`` in the peer's own unit.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tracin_core import Checkpoint, TracIn

RATE = 0.1
# Added by ours to the Hessian of the mean loss; a damping of EK-FAC's is another.
REGULARISATION = 0.05
EKFAC_DAMPING = 0.01


def load(model: nn.Module, checkpoint: Checkpoint) -> float:
    """Put a checkpoint in place, as captum's loaders do; return its learning rate."""
    model.load_state_dict(checkpoint.weights)
    return RATE


def take_last(tracin: TracIn) -> nn.Module:
    """Return a copy of the model at the last checkpoint."""
    model = copy.deepcopy(tracin.model)
    model.load_state_dict(tracin.checkpoints[-1].weights)
    return model


def call_captum_tracin(tracin: TracIn, train: Any, test: Any) -> Tensor:
    """Return captum's TracInCP over all layers."""
    from captum.influence import TracInCP

    peer = TracInCP(
        take_last(tracin),
        train,
        tracin.checkpoints,
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=len(train),
        sample_wise_grads_per_batch=True,
    )
    found: Tensor = peer.influence(test.tensors)
    return found.t()


def call_captum_fast(tracin: TracIn, train: Any, test: Any) -> Tensor:
    """Return captum's TracInCPFast over the last layer."""
    from captum.influence import TracInCPFast

    model = take_last(tracin)
    peer = TracInCPFast(
        model,
        list(model.children())[-1],
        train,
        tracin.checkpoints,
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=len(train),
    )
    found: Tensor = peer.influence(test.tensors)
    return found.t()


def call_captum_naive(tracin: TracIn, train: Any, test: Any) -> Tensor:
    """Return captum's influence functions by the explicit Hessian, all eigenvalues kept."""
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    model = take_last(tracin)
    size = sum(value.numel() for value in model.parameters())
    return _call_captum_influence(
        NaiveInfluenceFunction, model, tracin, train, test, projection_dim=size
    )


def call_captum_arnoldi(tracin: TracIn, train: Any, test: Any) -> Tensor:
    """Return captum's influence functions by Arnoldi iteration, 50 eigenvalues kept."""
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    options = {"projection_dim": 50, "arnoldi_dim": 100, "arnoldi_tol": 1e-6}
    return _call_captum_influence(
        ArnoldiInfluenceFunction, take_last(tracin), tracin, train, test, **options
    )


def _call_captum_influence(
    kind: Any, model: nn.Module, tracin: TracIn, train: Any, test: Any, **options: Any
) -> Tensor:
    peer = kind(
        model,
        train,
        tracin.checkpoints[-1],
        checkpoints_load_func=load,
        loss_fn=nn.CrossEntropyLoss(reduction="sum"),
        batch_size=len(train),
        sample_wise_grads_per_batch=True,
        # Of the summed loss.
        hessian_reg=REGULARISATION * len(train),
        hessian_inverse_tol=1e-10,
        **options,
    )
    found: Tensor = peer.influence(test.tensors)
    return found.t()


def make_dattri_task(model: nn.Module, checkpoints: list[Any]) -> Any:
    """Return what dattri attributes: cross-entropy of a batch or of one example."""
    from dattri.task import AttributionTask

    width = next(model.parameters()).shape[1]

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        # LiSSA hands over labels as floating-point numbers.
        inputs, labels = data[0].reshape(-1, width), data[1].reshape(-1).long()
        outputs = torch.func.functional_call(model, parameters, (inputs,))
        return F.cross_entropy(outputs, labels)

    return AttributionTask(loss, model, checkpoints)


def call_dattri_tracin(tracin: TracIn, train: Any, test: Any) -> Tensor:
    """Return dattri's TracIn with exact gradients."""
    from dattri.algorithm.tracin import TracInAttributor

    task = make_dattri_task(take_last(tracin), [c.weights for c in tracin.checkpoints])
    rates = torch.full((len(tracin.checkpoints),), RATE, dtype=torch.float64)
    peer = TracInAttributor(task, rates, normalized_grad=False, device="cpu")
    # Its constructor takes None for "project to 512".
    peer.projector_kwargs = None
    found: Tensor = peer.attribute(
        DataLoader(train, batch_size=len(train)), DataLoader(test, batch_size=len(test))
    )
    return found


DATTRI_OPTIONS: dict[str, dict[str, Any]] = {
    "Explicit": {"regularization": REGULARISATION},
    "CG": {"regularization": REGULARISATION, "max_iter": 200, "tol": 1e-10},
    # Its series has the factor 1 - damping - H / scaling: the same matrix by other numbers.
    "LiSSA": {
        **{"damping": REGULARISATION / 50, "scaling": 50.0, "recursion_depth": 5000},
        **{"batch_size": 20, "num_repeat": 1},
    },
    "Arnoldi": {"regularization": REGULARISATION, "proj_dim": 50, "max_iter": 100},
    "EKFAC": {"damping": EKFAC_DAMPING},
}
# What knows no float64: it makes vectors of its own in single precision.
SINGLE = ("LiSSA", "Arnoldi")


def call_dattri(kind: str) -> Callable[[TracIn, Any, Any], Tensor]:
    """Return a call of one of dattri's influence functions."""

    def call(tracin: TracIn, train: Any, test: Any) -> Tensor:
        import dattri.algorithm

        make = getattr(dattri.algorithm, f"IFAttributor{kind}")
        model = take_last(tracin)
        if kind in SINGLE:
            model = model.float()
            train, test = (TensorDataset(d.tensors[0].float(), d.tensors[1]) for d in (train, test))
        task = make_dattri_task(model, [model.state_dict()])
        peer = make(task, device="cpu", **DATTRI_OPTIONS[kind])
        whole = DataLoader(train, batch_size=len(train))
        peer.cache(whole)
        found: Tensor = peer.attribute(whole, DataLoader(test, batch_size=len(test)))
        return found

    return call


def call_kronfluence(strategy: str) -> Callable[[TracIn, Any, Any], Tensor]:
    """Return a call of kronfluence with one of its strategies, in float64."""

    def call(tracin: TracIn, train: Any, test: Any) -> Tensor:
        from kronfluence.analyzer import Analyzer, prepare_model
        from kronfluence.arguments import FactorArguments, ScoreArguments

        task, double = _make_kronfluence_task(), torch.float64
        factors = FactorArguments(
            strategy=strategy,
            activation_covariance_dtype=double,
            gradient_covariance_dtype=double,
            per_sample_gradient_dtype=double,
            lambda_dtype=double,
        )
        scores = ScoreArguments(
            damping_factor=EKFAC_DAMPING,
            score_dtype=double,
            per_sample_gradient_dtype=double,
            precondition_dtype=double,
        )
        model = take_last(tracin)
        every = _take_every_class(model, train)
        with tempfile.TemporaryDirectory() as folder:
            peer = Analyzer(
                "methods",
                prepare_model(model, task),
                task,
                cpu=True,
                disable_tqdm=True,
                output_dir=folder,
            )
            peer.fit_all_factors(
                "factors", every, per_device_batch_size=len(every), factor_args=factors
            )
            peer.compute_pairwise_scores(
                "scores",
                "factors",
                query_dataset=_weigh(test),
                train_dataset=_weigh(train),
                per_device_query_batch_size=len(test),
                per_device_train_batch_size=len(train),
                score_args=scores,
            )
            found: Tensor = peer.load_pairwise_scores("scores")["all_modules"]
        return found.t()

    return call


def _make_kronfluence_task() -> Any:
    from kronfluence.task import Task

    class Weighted(Task):  # type: ignore[misc, unused-ignore]
        """Cross-entropy of given labels, weighted; so every class can stand for drawn ones."""

        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            inputs, labels, weights = batch
            return (weights * F.cross_entropy(model(inputs), labels, reduction="none")).sum()

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    return Weighted()


def _weigh(examples: TensorDataset) -> TensorDataset:
    inputs, labels = examples.tensors
    return TensorDataset(inputs, labels, inputs.new_ones(len(inputs)))


@torch.no_grad()
def _take_every_class(model: nn.Module, train: TensorDataset) -> TensorDataset:
    """Return each example with each of K classes, weighted so that squares have their mean."""
    inputs, _ = train.tensors
    shares = model(inputs).softmax(1)
    width = shares.shape[1]
    labels = torch.arange(width).repeat(len(inputs))
    weights = (width * shares).sqrt().flatten()
    return TensorDataset(inputs.repeat_interleave(width, 0), labels, weights)
