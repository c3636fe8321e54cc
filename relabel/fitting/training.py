"""Train a network on a project's examples, or find it trained. Imports torch."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from relabel.db.project_rules import Project
from relabel.features.backbones.registry import AUTO, NO_FEATURES
from relabel.features.encoding import LARGEST_SIDE, Encoder, fit_encoder
from relabel.features.frozen import FeatureEncoder, begin_features
from relabel.features.ngrams import NgramEncoder
from relabel.features.table import cut_far_away
from relabel.fitting.data import open_datasets, open_own_examples, open_stored_rows
from relabel.fitting.network import MadeNetwork
from relabel.fitting.options import WorkOptions
from relabel.fitting.saved import COURSE_FILE, NETWORK_FILE
from relabel.fitting.stored import ProjectExamples
from relabel.fitting.user_checkpoints import check_trainable
from relabel.models.build import build_model, hash_weights
from relabel.models.builtin import suggest_model
from relabel.models.networks.heads import LinearHeadConfig
from relabel.models.registry import Network, find_network, list_networks
from relabel.models.user.code import explain_network_errors
from relabel.models.user.config import OwnModelConfig, describe_own_model, is_reference
from relabel.models.user.inputs import OwnEncoder, check_repeatable
from relabel.models.user.load import load_own_model
from relabel.progress import OnProgress, Progress, ignore_progress
from relabel.runs.config import TargetScale, hash_json
from relabel.training.config import MOST_ROUNDS, MOST_SECONDS, TrainingConfig, suggest_training
from relabel.training.loop import train
from relabel.training.storage import load_json, save_json
from relabel.training.threads import limit_threads_for
from tracin_core.errors import ConfigurationError

# Share of the targets that may be far away at most: of more, the crowd in the middle says little.
MOST_SLIPS = 0.25
# Examples that are encoded twice to find chance in a transform: a flip of every second image
# goes unnoticed on all of them once in 256 times.
TRIED = 8


def train_network(
    folder: Path,
    project: Project,
    examples: ProjectExamples,
    options: WorkOptions,
    on_progress: OnProgress = ignore_progress,
    *,
    trainings: Path | None = None,
) -> Path:
    """Train, or go on with, or find finished, the network for a project.

    Args:
        folder: The project's. The training gets a folder named after what decides its outcome,
            so that another one can never be mistaken for it.
        project: The project.
        examples: Its examples, with the labels to train on.
        options: What the person chose.
        on_progress: Told about every step.
        trainings: Where the folder is made; None for among the project's own trainings.

    Returns:
        The training's folder.

    Raises:
        ConfigurationError: If there is nothing to learn, an option cannot work, or the loss
            becomes infinite or NaN.
        InputError: If an example cannot be read.
        WorkspaceError: If the checkpoints cannot be written.
    """
    check_targets(project, examples)
    made = _make_network(folder, project, examples, options, on_progress)
    scale = measure_targets(examples) if project.task == "regression" else None
    made = made.scaled(scale)
    config = _choose_config(project, examples, made, options)
    about = {
        "kind": project.kind,
        "task": project.task,
        "classes": list(project.classes),
        "target": project.target,
        "target_scale": None if scale is None else asdict(scale),
        "model": made.config.to_json(),
        "encoder": made.encoder.to_json(),
    }
    if isinstance(made.encoder, OwnEncoder):  # before anything is written or much encoded
        first = open_own_examples(made.encoder, examples, without_excluded=True)
        check_trainable(made.encoder, first["train"])
    excluded = b"".join(part.excluded.tobytes() for part in examples.splits.values())
    made_from = about | {
        "data": examples.data_hash,
        "excluded": hashlib.sha256(excluded).hexdigest(),
        "training": config.to_json(),
    }
    own_folder = (trainings or folder / "training") / hash_json(made_from)[:12]
    _drop_if_incomplete(own_folder)
    own_folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    title = getattr(made.config, "title", made.config.name)
    save_json(own_folder / NETWORK_FILE, about | {"title": title, "requested_at": now})
    datasets = open_datasets(
        folder,
        made.encoder,
        examples,
        scale=scale,
        without_excluded=True,
        on_progress=on_progress,
    )
    total = config.epochs * len(datasets["train"])
    on_progress(Progress("training", 0, total))
    # A person's own network may be slow for its size; torch knows best then.
    limits = nullcontext() if made.config.name == "own" else limit_threads_for(made.model)
    file = Path(made.config.file) if isinstance(made.config, OwnModelConfig) else None
    with limits, explain_network_errors(file, "The network"):
        train(
            made.model,
            datasets["train"],
            datasets["test"],
            config,
            own_folder,
            on_visited=lambda done: on_progress(_describe_round(done, total)),
            own_loss=made.loss if callable(made.loss) else None,
            unit=1.0 if scale is None else scale.std,
        )
    on_progress(Progress("training", total, total))
    return own_folder


def _describe_round(done: int, total: int) -> Progress:
    """Return how far a training is: in its first round, or in one of those that may follow."""
    if done <= total:
        return Progress("training", min(done, total - 1), total)
    return Progress("continuing the training", (done - 1) % total, total)


def check_targets(project: Project, examples: ProjectExamples) -> None:
    """Check that the train examples have something to be told apart.

    Raises:
        ConfigurationError: If there are none, all are of one class, or all numbers are the same.
    """
    train_examples = examples.splits["train"]
    found = np.unique(train_examples.targets[~train_examples.excluded])
    if len(found) >= 2:
        return
    if not len(found):
        what = "no train examples"
    elif project.task == "regression":
        what = f"train examples whose {project.target or 'target'} is always {found[0]:g}"
    else:
        what = f"train examples of one class only, {project.classes[int(found[0])]!r}"
    raise ConfigurationError(
        f"The project {project.slug} has {what}; expected at least two different ones, or there "
        "is nothing to learn. Import more data, or look at what was excluded or relabelled."
    )


def measure_targets(examples: ProjectExamples) -> TargetScale:
    """Return mean and standard deviation of the train targets that are not excluded.

    A few numbers far from all others are cut for it: slipped decimal points would otherwise make
    all that is to be learned small.
    """
    train_examples = examples.splits["train"]
    targets = cut_slips(train_examples.targets[~train_examples.excluded])
    return TargetScale(mean=float(targets.mean()), std=float(targets.std()))


def cut_slips(targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return numbers of which a few far from all others are cut to where those end, ``(N,)``.

    Many are no slips but what the targets are like, and stay.
    """
    cut = cut_far_away(targets)
    return cut if (cut != targets).mean() <= MOST_SLIPS else targets


def describe_own(project: Project, examples: ProjectExamples, options: WorkOptions) -> OwnEncoder:
    """Build a person's own network and its inputs, by running the file they named.

    Raises:
        ConfigurationError: If none is named, they have not agreed to run it, or the file does not
            give a network.
    """
    config = describe_own_model(
        options.model,
        kind=project.kind,  # type: ignore[arg-type]
        task=project.task,  # type: ignore[arg-type]
        classes=project.classes,
    )
    own = load_own_model(config, run_my_code=options.run_my_code)
    rows: Encoder | None = None
    if project.kind == "table" and own.transform is None:
        rows = _fit_encoder(project, examples, "auto", None)
    encoder = OwnEncoder(own, config, rows)
    train_examples = examples.splits["train"]
    for content in train_examples.reader.read(range(min(TRIED, len(train_examples)))):
        check_repeatable(encoder, content)
    return encoder


def _make_network(
    folder: Path,
    project: Project,
    examples: ProjectExamples,
    options: WorkOptions,
    on_progress: OnProgress,
) -> MadeNetwork:
    loss = "mse" if project.task == "regression" else "cross_entropy"
    if is_reference(options.model):
        encoder_of_own = describe_own(project, examples, options)
        own = encoder_of_own.own
        return MadeNetwork(encoder_of_own.config, own.model, encoder_of_own, own.loss or loss)  # type: ignore[arg-type]
    network = _find_asked(options)
    weights = None
    if network is not None and network.takes == "features":
        encoder: Encoder = _fit_features(folder, project, examples, options, on_progress)
    else:
        weights = None if options.weights is None else hash_weights(Path(options.weights))
        encoder = _fit_encoder(project, examples, options.model, options.weights)
    config = suggest_model(
        encoder,
        1 if project.task == "regression" else len(project.classes),
        task=project.task,  # type: ignore[arg-type]
        model=options.model if network is None else network.name,
        seed=options.seed,
        weights=None if weights is None else options.weights,
        weights_sha256=weights or "",
    )
    model = build_model(config)
    network = find_network(config.name)
    if network is not None:
        network.initialise(model, config)
    return MadeNetwork(config, model, encoder, loss)  # type: ignore[arg-type]


def _find_asked(options: WorkOptions) -> Network | None:
    """Return the built-in network that is asked for; None where it is left to the data.

    Raises:
        ConfigurationError: If features are asked for and the network takes none, or none are and
            it takes them.
    """
    if options.features == NO_FEATURES:
        network = find_network(options.model)
        if network is not None and network.takes == "features":
            raise ConfigurationError(
                f"Found --features {NO_FEATURES} with the model {network.name}, which takes the "
                "features of a backbone. Leave out --features, or choose another --model."
            )
        return network
    wanted = options.features != AUTO
    network = find_network(
        LinearHeadConfig.name if wanted and options.model == "auto" else options.model
    )
    if wanted and network is not None and network.takes != "features":
        takers = ", ".join(each.name for each in list_networks() if each.takes == "features")
        raise ConfigurationError(
            f"Found --features {options.features} with the model {network.name}, which looks at "
            f"the examples themselves; expected one of {takers}. Leave out --features, or choose "
            "another --model."
        )
    return network


def _fit_features(
    folder: Path,
    project: Project,
    examples: ProjectExamples,
    options: WorkOptions,
    on_progress: OnProgress,
) -> FeatureEncoder:
    """Return the encoder of a backbone, standardised by the train split, whose rows are cached."""
    encoder = begin_features(
        project.kind,  # type: ignore[arg-type]
        options.features,
        weights=options.weights,
        allow_download=options.allow_download,
    )
    rows = open_stored_rows(folder, encoder, examples, on_progress)["train"]
    return encoder.measured(np.asarray(rows))


def _fit_encoder(
    project: Project, examples: ProjectExamples, model: str, weights: str | None
) -> Encoder:
    network = find_network(model)
    if weights is not None and (network is None or network.load_weights is None):
        network = next(each for each in list_networks() if each.load_weights is not None)
    side = None
    if network is not None:
        side = network.largest_side if weights is None else network.weights_side
    is_image = project.kind == "image"
    if network is not None and network.takes == "ngrams":
        texts = (text for text in examples.splits["train"].contents() if isinstance(text, str))
        return NgramEncoder.fit(texts, num_outputs=len(project.classes))
    return fit_encoder(
        project.kind,  # type: ignore[arg-type]
        examples.splits["train"].contents(at_most=2000 if is_image else None),
        columns=project.settings.get("columns", ()),
        largest_side=side or LARGEST_SIDE,
        in_colour=weights is not None,
    )


def _choose_config(
    project: Project, examples: ProjectExamples, made: MadeNetwork, options: WorkOptions
) -> TrainingConfig:
    config = suggest_training(
        project.kind,  # type: ignore[arg-type]
        seed=options.seed,
        num_examples=len(examples.splits["train"]),
        model=made.config.name,
        loss=made.loss if isinstance(made.loss, str) else "custom",
        chosen=getattr(made.config, "training", None),
    )
    names = ("epochs", "learning_rate", "batch_size", "num_checkpoints", "patience")
    given: dict[str, Any] = {
        name: getattr(options, name) for name in names if getattr(options, name) is not None
    }
    if options.device != "auto":
        given["device"] = options.device
    if options.epochs is None and options.patience is None:
        given |= {"rounds": MOST_ROUNDS, "max_seconds": MOST_SECONDS}
    return replace(config, **given)


def _drop_if_incomplete(folder: Path) -> None:
    """Delete a finished training that has lost a checkpoint, to train it again."""
    course = folder / COURSE_FILE
    if course.exists() and not all(
        (folder / entry["file"]).is_file() for entry in load_json(course)["checkpoints"]
    ):
        shutil.rmtree(folder)
