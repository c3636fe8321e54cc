"""Fit a built-in network to some of the examples and ask it about others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from relabel.crossval.registry import Fold
from relabel.db.project_rules import Project
from relabel.features.datasets import StoredDataset
from relabel.features.encoding import LARGEST_SIDE, Encoder, fit_encoder
from relabel.features.joined import JoinedRows
from relabel.fitting.data import open_stored_rows
from relabel.fitting.options import WorkOptions
from relabel.fitting.stored import ProjectExamples
from relabel.models.build import build_model
from relabel.models.builtin import suggest_model
from relabel.models.registry import find_network
from relabel.text import SPLITS
from relabel.training.config import LossName, suggest_training
from relabel.training.objective import choose_objective, read_outputs
from tracin_core.devices import choose_device

ASKED_AT_ONCE = 512


class NetworkFitter:
    """Fits networks to a project's examples, which are encoded when first needed."""

    def __init__(
        self, folder: Path, project: Project, examples: ProjectExamples, options: WorkOptions
    ) -> None:
        self._folder, self._project = folder, project
        self._examples, self._options = examples, options
        self._encoders: dict[str, Encoder] = {}

    @cached_property
    def pixels(self) -> float:
        """Return how many numbers an example has for a built-in network."""
        return float(np.prod(self._encoder("auto").stored_shape))

    def ask(self, name: str, fold: Fold) -> npt.NDArray[np.floating]:
        """Train a network as it is suggested, and return what it makes of the others.

        Args:
            name: Of the built-in network.
            fold: What is learned and asked; its targets are the network's.

        Returns:
            Logits, shape ``(B, K)``; for regression standardised numbers, ``(B,)``.
        """
        encoder = self._encoder(name)
        config = suggest_model(
            encoder,
            max(fold.num_classes, 1),
            task=self._project.task,  # type: ignore[arg-type]
            model=name,
            seed=fold.seed,
        )
        loss: LossName = "mse" if fold.is_regression else "cross_entropy"
        training = suggest_training(
            self._project.kind,  # type: ignore[arg-type]
            seed=fold.seed,
            num_examples=len(fold.learned),
            model=name,
            loss=loss,
        )
        objective = choose_objective(loss, residual_bound=training.residual_bound)
        targets = torch.from_numpy(np.ascontiguousarray(fold.targets))
        targets = targets.to(torch.float32) if fold.is_regression else targets
        stored = open_stored_rows(self._folder, encoder, self._examples)
        rows = JoinedRows([stored[split] for split in SPLITS])
        dataset = StoredDataset(rows, targets, encoder, digest="")
        device = choose_device(self._options.device)
        model = build_model(config).to(device).train()
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )
        steps = training.epochs * math.ceil(len(fold.learned) / training.batch_size)
        with torch.random.fork_rng():
            torch.manual_seed(fold.seed)
            batches = _repeat(fold.learned, training.epochs, training.batch_size)
            for step, chosen in enumerate(batches):
                for group in optimizer.param_groups:
                    group["lr"] = training.rate_at(step, steps)
                inputs, truth = dataset.read_batch(chosen)
                losses = objective(_call(model, inputs, device), truth.to(device))
                optimizer.zero_grad()
                losses.mean().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        model.eval()
        found = []
        with torch.inference_mode():
            for chosen in torch.from_numpy(fold.asked).split(ASKED_AT_ONCE):  # type: ignore[no-untyped-call]
                inputs, _ = dataset.read_batch(chosen)
                found.append(read_outputs(_call(model, inputs, device)).cpu().double())
        outputs = torch.cat(found)
        answered: npt.NDArray[np.floating] = (
            outputs.flatten() if fold.is_regression else outputs
        ).numpy()
        return answered

    def _encoder(self, name: str) -> Encoder:
        if name not in self._encoders:
            network = find_network(name)
            side = network.largest_side if network is not None else None
            is_image = self._project.kind == "image"
            self._encoders[name] = fit_encoder(
                self._project.kind,  # type: ignore[arg-type]
                self._examples.splits["train"].contents(at_most=2000 if is_image else None),
                columns=self._project.settings.get("columns", ()),
                largest_side=side or LARGEST_SIDE,
            )
        return self._encoders[name]


def _repeat(positions: npt.NDArray[np.intp], epochs: int, batch_size: int) -> Iterator[Tensor]:
    """Yield batches of positions, each epoch in an order of its own."""
    known = torch.from_numpy(positions)
    for _ in range(epochs):
        yield from known[torch.randperm(len(known))].split(batch_size)  # type: ignore[no-untyped-call]


def _call(model: torch.nn.Module, inputs: Any, device: torch.device) -> Any:
    if isinstance(inputs, tuple):
        return model(*(each.to(device) for each in inputs))
    return model(inputs.to(device))
