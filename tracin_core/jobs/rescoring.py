"""Score a project again after labels have changed: only the changed examples are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from tracin_core.config import Workspace
from tracin_core.errors import NotFoundError
from tracin_core.files import disk_errors_explained
from tracin_core.jobs.locking import project_locked
from tracin_core.jobs.progress import OnProgress, Progress, ignore_progress
from tracin_core.jobs.registering import register_scored_run
from tracin_core.jobs.stored_examples import (
    StoredExample,
    digest_examples,
    hash_examples,
    of_split,
    read_examples,
)
from tracin_core.reviews.projects import Run, current_run, get_project
from tracin_core.runs import RunFolder
from tracin_core.terms import SPLITS

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.examples.encoding import Encoder


@dataclass(frozen=True)
class RescoredProject:
    """A project's new current run.

    Attributes:
        run: As it is in the database.
        examples_computed: Examples whose label or content had changed.
        rows_computed: The same times the checkpoints.
    """

    run: Run
    examples_computed: int
    rows_computed: int


def rescore_project(
    engine: Engine,
    workspace: Workspace,
    slug: str,
    *,
    on_progress: OnProgress = ignore_progress,
) -> RescoredProject:
    """Bring a project's scores up to the labels that are in force after the decisions.

    The checkpoints stay as they are, and with them the numbers of all examples whose label has
    not changed; those are taken from the current run. If that one is damaged or was made by
    another version of the program, every example is computed.

    Args:
        engine: The database.
        workspace: Where the project's files are.
        slug: The project.
        on_progress: Told about every batch.

    Returns:
        The run with the new scores, which is now the current one.

    Raises:
        NotFoundError: If there is no such project, or it has no run yet.
        RunFolderError: If the current run's ``run.json`` is damaged.
        WorkspaceError: If an image is missing, or the disk is full.
    """
    project = get_project(engine, slug)
    folder = workspace.project_folder(slug)
    waiting = Progress("waiting for another process that works on this project", 0, 1)
    with disk_errors_explained(folder), project_locked(folder, lambda: on_progress(waiting)):
        current = current_run(engine, project.id)
        if current is None:
            raise NotFoundError(
                f"The project {slug} has no scores yet; expected a run whose checkpoints can be "
                "used. Score it first."
            )
        # torch, four seconds of it, is needed only here.
        from tracin_core.jobs.networks import open_network
        from tracin_core.jobs.scoring import score_run
        from tracin_core.jobs.sharding import SplitSource

        base = RunFolder(folder / current.folder)
        network, config = open_network(base), base.read_config()
        examples = read_examples(
            engine, project.id, workspace.media_folder(slug), config.counts, labels="current"
        )
        splits = {split: of_split(examples, split) for split in SPLITS}
        scored = score_run(
            folder / "runs",
            network,
            [
                SplitSource(
                    split=split,
                    examples=_EncodedOnDemand(network.encoder, members),
                    digests=digest_examples(members),
                )
                for split, members in splits.items()
            ],
            data_hash=hash_examples(project.classes, examples),
            base=base,
            rates=config.rates,
            on_progress=on_progress,
        )
        run = register_scored_run(engine, project.id, scored.folder)
    return RescoredProject(run, sum(scored.num_computed.values()), scored.rows_computed)


class _EncodedOnDemand:
    """Examples that are encoded when they are read: of most, only the digest is needed."""

    def __init__(self, encoder: Encoder, examples: Sequence[StoredExample]) -> None:
        self._encoder = encoder
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def read_batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of several positions, shapes ``(B, ...)`` and ``(B,)``."""
        from tracin_core.examples.datasets import encode_examples

        wanted = [self._examples[index] for index in indices.tolist()]
        dataset = encode_examples(
            self._encoder,
            [example.content for example in wanted],
            [example.given_label for example in wanted],
        )
        return dataset.inputs, dataset.labels
