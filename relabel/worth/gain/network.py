"""The project's own kind of network, trained from its beginning on some labels. Imports torch."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from relabel.db.project_rules import Project
from relabel.fitting.data import open_datasets, read_in_batches
from relabel.fitting.network import open_training
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import read_training
from relabel.fitting.stored import ProjectExamples
from relabel.fitting.training import train_network
from relabel.progress import OnProgress, Progress
from relabel.training.storage import load_tensors
from relabel.worth.gain.labels import Labels
from tracin_core.errors import ConfigurationError

BATCH = 256


@dataclass(frozen=True, eq=False)
class NetworkLearner:
    """Trains a network for each set of labels.

    Attributes:
        folder: The project's, where what is encoded lies.
        trainings: Where the trainings lie until their predictions are kept.
        project: The project.
        examples: Both splits, with any labels.
        options: Which network, and for how long; the same for every set of labels.
        on_progress: Told about every step.
    """

    folder: Path
    trainings: Path
    project: Project
    examples: ProjectExamples
    options: WorkOptions
    on_progress: OnProgress

    def predict(
        self, arms: Sequence[Labels], seed: int, on_share: Callable[[float], None]
    ) -> npt.NDArray[Any]:
        """Return what a network that was trained on each set says of the test examples, ``(A, M)``.

        The networks begin with the same weights. Examples that a set leaves out are not seen, so
        that the order of its batches is that of the others without them.

        Args:
            arms: The sets of labels.
            seed: Of the initial weights, the order of the batches and any dropout.
            on_share: Told how far all of it is, 0 to 1; what it raises ends the training.
        """
        told: list[npt.NDArray[Any]] = []
        for arm in arms:

            def tell(share: float, done: int = len(told)) -> None:
                on_share((done + share) / len(arms))

            told.append(self._train(arm, seed, tell))
        return np.stack(told)

    def _train(self, arm: Labels, seed: int, on_share: Callable[[float], None]) -> npt.NDArray[Any]:
        train = replace(self.examples.splits["train"], targets=arm.targets, excluded=~arm.kept)
        examples = replace(self.examples, splits={**self.examples.splits, "train": train})
        # What is learned is named by the labels, too, so that a folder is one training's.
        examples = replace(examples, data_hash=hash_labels(self.examples.data_hash, arm))

        def report(progress: Progress) -> None:
            if progress.stage == "training":
                on_share(progress.done / max(progress.total, 1))
            else:
                self.on_progress(progress)

        options = replace(self.options, seed=seed)
        place = (self.folder, self.project, examples, options)
        folder = train_network(*place, report, trainings=self.trainings)
        said = self._ask(folder, examples)
        shutil.rmtree(folder)
        return said

    def _ask(self, folder: Path, examples: ProjectExamples) -> npt.NDArray[Any]:
        info = read_training(folder)
        if info is None:
            raise ConfigurationError(f"Found a damaged training in {folder}. Start it again.")
        last = max(info.steps_on_disk)  # chosen by no test label
        network = open_training(info, (last,))
        model = network.model
        model.load_state_dict(load_tensors(folder / network.checkpoints[0].file)["state_dict"])
        model.eval()
        test = open_datasets(self.folder, network.encoder, examples, scale=network.target_scale)
        rows = test["test"]
        told = []
        with torch.no_grad():
            for inputs, _ in read_in_batches(rows, np.arange(len(rows)), BATCH):
                told.append(model(inputs))
        outputs = torch.cat(told)
        if network.target_scale is None:
            classes: npt.NDArray[Any] = outputs.argmax(dim=1).numpy()
            return classes
        scale = network.target_scale
        values: npt.NDArray[Any] = outputs.double().flatten().numpy() * scale.std + scale.mean
        return values


def hash_labels(data_hash: str, labels: Labels) -> str:
    """Return a digest of some data with other labels."""
    digest = hashlib.sha256(data_hash.encode())
    digest.update(labels.targets.tobytes() + labels.kept.tobytes())
    return digest.hexdigest()


def name_network(run_config: Mapping[str, Any]) -> str:
    """Return the name of the built-in network that a run was scored with; "auto" where unknown.

    Raises:
        ConfigurationError: If it is a person's own, whose trainings are not made here.
    """
    model = run_config.get("model")
    name = model.get("name", "auto") if isinstance(model, Mapping) else "auto"
    if name == "own":
        raise ConfigurationError(
            "Found a network of your own, which is trained outside of this program. Measure the "
            "gain with the quick model: --learner head."
        )
    return str(name)


def count_epochs(run_config: Mapping[str, Any]) -> int | None:
    """Return the epochs that a run's network was trained for; None where they are not known."""
    epochs = run_config.get("epochs")
    return len(epochs) if isinstance(epochs, (list, tuple)) and epochs else None
