"""Gradients of the test examples' predicted scores: what raised or lowered the predicted class.

A run keeps gradients of losses. The authors' FAQ knows a second kind of question, of a prediction
and not of a label: whose dot products with the train examples' loss gradients are influences on the
logit of the predicted class, or on the predicted number. One more pass over the test examples makes
them, with the run's own network, checkpoints, layers, rates and projections. Imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy import Engine
from torch import Tensor

from relabel.db.projects import get_project
from relabel.db.runs import current_run
from relabel.errors import NotFoundError
from relabel.fitting.data import ExampleSource, read_in_batches, read_on_demand
from relabel.fitting.network import TrainedNetwork, list_checkpoints, open_network
from relabel.fitting.stored import read_project
from relabel.models.user.code import explain_network_errors
from relabel.models.user.config import Consent
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import RunConfig
from relabel.runs.folder import RunFolder, create_array, write_rows
from relabel.scoring.project import lock_project
from relabel.scoring.shards import SHARD_EXAMPLES
from relabel.scoring.spec import as_projection
from relabel.text import Layers
from relabel.triage.new_example import minus_class_logit, minus_output
from relabel.workspace import Workspace
from tracin_core.errors import InputError
from tracin_core.layers import is_part
from tracin_core.tracin import TracIn

STAGE = "scoring the predictions"


def store_score_vectors(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    *,
    run_my_code: Consent = False,
    on_progress: OnProgress = ignore_progress,
) -> RunFolder:
    """Compute the score vectors of the current run's test examples into its folder.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        run_my_code: Whether the person has agreed to run the file of their own network, or the
            digest of the file that they agreed to.
        on_progress: Told about every batch.

    Raises:
        NotFoundError: If there is no such project, or it has no run.
        InputError: If it has no test examples, or they have changed since the run was scored.
        RunFolderError: If a file of the run is missing or damaged.
        ConfigurationError: If the network is the person's own, and they have not agreed.
        GradientError: If a gradient cannot be computed.
    """
    project = get_project(engine, slug)
    folder = workspace.project_folder(slug)
    with lock_project(workspace, slug, on_progress):
        current = current_run(engine, project.id)
        if current is None:
            raise NotFoundError(f"The project {slug} has no scores yet. Train and score it first.")
        run = RunFolder(folder / current.folder)
        config = run.read_config()
        examples = read_project(
            engine, project, workspace.media_folder(slug), "current", on_progress
        )
        count = config.counts["test"]
        if not count or len(examples.splits["test"]) < count:
            raise InputError(
                f"Found {len(examples.splits['test']):,} test examples; expected the {count:,} "
                "that the run has scored, at least one. Import test examples, and score again."
            )
        network = open_network(run, run_my_code=run_my_code)
        data = read_on_demand(folder, network.encoder, examples, network.target_scale)["test"]
        predicted = run.read_all_signals("test").predicted[-1].astype(np.int64)
        with explain_network_errors(network.own_file, "The network"):
            _Writer(run, config, network, on_progress).write(_Explained(data, predicted))
    return run


@dataclass(frozen=True, eq=False)
class _Explained:
    """Test examples whose targets are the classes that are predicted for them."""

    examples: ExampleSource
    predicted: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.predicted)

    def read_batch(self, indices: Tensor) -> tuple[Any, Tensor]:
        """Return inputs and predicted classes at some positions."""
        inputs, _ = self.examples.read_batch(indices)
        return inputs, torch.from_numpy(self.predicted)[indices]


class _Writer:
    """Computes score vectors shard by shard, and puts whole files into the run's folder."""

    def __init__(
        self, run: RunFolder, config: RunConfig, network: TrainedNetwork, on_progress: OnProgress
    ) -> None:
        self._run, self._config, self._on_progress = run, config, on_progress
        model, names = network.model, config.layers["last"]
        regression = config.task == "regression"
        self._tracin = TracIn(
            model,
            list_checkpoints(run, config.checkpoints),
            minus_output if regression else minus_class_logit,
            layers="all" if "all" in config.scored_layers else "last",
            rates=config.rates,
            # As it was scored: of another loss it may not be found alike.
            last_layer=names if all(is_part(model, name) for name in names) else None,
            progress=False,
        )

    def write(self, source: _Explained) -> None:
        """Write the vectors of all layers that the run has; each file appears whole."""
        count, scored = len(source), self._config.scored_layers
        waiting = {one: self._run.root / f".{one}-score-vectors.npy" for one in scored}
        try:
            for one, path in waiting.items():
                create_array(path, (count, self._run.vectors(one, "test").shape[1]))
            for start in range(0, count, SHARD_EXAMPLES):
                stop = min(start + SHARD_EXAMPLES, count)
                for one, rows in self._capture(source, np.arange(start, stop)).items():
                    write_rows(waiting[one], start, rows)
            for one, path in waiting.items():
                path.replace(self._run.score_vectors_path(one))
        finally:
            for path in waiting.values():
                path.unlink(missing_ok=True)

    def _capture(
        self, source: _Explained, positions: npt.NDArray[np.intp]
    ) -> dict[Layers, npt.NDArray[np.float32]]:
        config, checkpoints = self._config, len(self._tracin.checkpoints)
        before, total = int(positions[0]) * checkpoints, len(source) * checkpoints
        capture = self._tracin.capture(
            read_in_batches(source, positions, self._tracin.batch_size),
            projection=as_projection(config.projection.get("all")),
            last_layer_vectors=as_projection(config.projection["last"]) or "exact",
            on_progress=lambda done, _: self._on_progress(Progress(STAGE, before + done, total)),
        )
        rows: dict[Layers, Tensor | None] = {"all": capture.vectors, "last": capture.last_vectors}
        return {
            one: rows[one].detach().to("cpu", torch.float32).numpy()  # type: ignore[union-attr]
            for one in config.scored_layers
        }
