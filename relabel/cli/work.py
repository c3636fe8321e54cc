"""``train``, ``score``, ``rescore``: from a project's data to its ranked suspects."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from relabel.cli.context import OpenedProject, OpenedWorkspace, open_project
from relabel.cli.display import confirm, print_warning, show_progress
from relabel.cli.parameters import (
    Location,
    background_option,
    command,
    number,
    project_argument,
    seed,
    whole,
)
from relabel.db.jobs import Job
from relabel.features.backbones.registry import resolve_member
from relabel.fitting.options import MOST_EPOCHS, MOST_FOLDS, LabelChoice, WorkOptions
from relabel.fitting.saved import find_saved_model
from relabel.jobs.launch import run_job_inline, start_job
from relabel.models.user.config import (
    Consent,
    hash_source,
    is_reference,
    needs_consent,
    read_reference,
    read_source,
)
from relabel.runs.config import Rates
from relabel.scoring.estimate import estimate_full_rescoring, explain_full_rescoring
from relabel.text import LARGEST_NUMBER, LARGEST_RATE, LayerChoice, counted
from relabel.workspace import find_program_name
from tracin_core.attribution import DEFAULT_METHOD, list_methods
from tracin_core.errors import ConfigurationError
from tracin_core.files import expand_path
from tracin_core.scale import DEFAULT_ENGINE, list_engines
from tracin_core.scale.engines.ranks import read_rank

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
positive = number("a number above 0", lambda found: 0 < found <= LARGEST_RATE)
# Options whose values are paths, as the person who types them sees them.
_PATHS = ("checkpoints", "weights")
_MODEL_OPTIONS = (
    click.option(
        "--model",
        metavar="NAME",
        help="a built-in network, or path/to/file.py:function for your own (default: by the data)",
    ),
    click.option(
        "--run-my-code",
        is_flag=True,
        help="agree to run the file of --model, which may do whatever you may do",
    ),
    click.option("--device", metavar="NAME", help="auto, cpu, cuda, ... (default: auto)"),
)
# What is not given is chosen by the data.
_TRAINING_OPTIONS = (
    click.option(
        "--epochs",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="passes over the train examples (default: as many as lower the loss on held-out "
        "examples, within three minutes of training)",
    ),
    click.option("--learning-rate", type=positive, metavar="RATE"),
    click.option("--batch-size", type=whole(1, LARGEST_NUMBER), metavar="N", help="examples"),
    click.option("--seed", type=seed, metavar="N", help="of weights and batches (default: 0)"),
    click.option(
        "--num-checkpoints",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="checkpoints that are scored",
    ),
    click.option(
        "--patience",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="stop after so many epochs without a better test loss",
    ),
)
# Who is asked about examples that they have not seen, by what features.
_ASKING_OPTIONS = (
    click.option(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights to begin with, for resnet18; or of the backbone of --features",
    ),
    click.option(
        "--features",
        metavar="NAME",
        help="backbone for linear_head and mlp_head, such as torchvision:resnet50 (default: auto, "
        "the best one that is at hand; none does without); docs/features.md lists them",
    ),
    click.option(
        "--folds",
        type=whole(0, MOST_FOLDS),
        metavar="N",
        help="cut the train examples into so many parts, to ask models about each part that were "
        "fitted to the others; slow networks, too (default: by the data, quick models alone; 0: "
        "ask nobody)",
    ),
    click.option(
        "--allow-download",
        is_flag=True,
        help="agree to fetch the weights of --features from where they are published",
    ),
)
_CHECKPOINT_OPTIONS = (
    click.option(
        "--checkpoints",
        type=Path,
        metavar="DIR",
        help="folder with checkpoints of your own training (Lightning, transformers, PyTorch)",
    ),
    click.option(
        "--learning-rate-of-checkpoints",
        type=positive,
        metavar="RATE",
        help="where the files do not say it",
    ),
    click.option(
        "--num-checkpoints",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="with --checkpoints, how many of them to use at most (default: 8)",
    ),
)


def _names(text: str) -> tuple[str, ...]:
    """Return names that stand with commas between."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise click.BadParameter(f"found {text!r}; expected names of modules, with commas between")
    return names


def _read_method_options(texts: Sequence[str]) -> dict[str, Any] | None:
    """Return options of a method: numbers, lists and true or false as in JSON, else texts."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{text[:80]} is no option such as damping=0.05")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found or None


def _steps(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and len(part.strip()) < 16 for part in parts):
        raise click.BadParameter(f"{text[:80]} is no list of steps such as 180,360")
    return tuple(int(part) for part in parts)


_SCORING_OPTIONS = (
    click.option(
        "--steps", type=_steps, metavar="N,N,...", help="checkpoints to use, by their steps"
    ),
    click.option(
        "--layers",
        type=click.Choice(get_args(LayerChoice)),
        help="scores and vectors of all layers and the last one, or of the last one alone, which "
        "takes little more than a forward pass (default: both)",
    ),
    click.option(
        "--last-layer",
        type=_names,
        metavar="NAME,...",
        help="modules of the network that are its last layer, by which suspects are ranked "
        "(default: found, the last map from features to outputs)",
    ),
    click.option(
        "--rates",
        type=click.Choice(get_args(Rates)),
        help="weight of each checkpoint: equal, or its learning rate (default: ones)",
    ),
    click.option(
        "--method",
        type=click.Choice(list(list_methods())),
        help=f"attribution method that scores the train examples (default: {DEFAULT_METHOD})",
    ),
    click.option(
        "--method-option",
        "method_options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=lambda context, parameter, texts: _read_method_options(texts),
        help="an option of the attribution method, such as damping=0.05; may be repeated",
    ),
    click.option(
        "--labels",
        type=click.Choice(get_args(LabelChoice)),
        help="the data's labels, or those in force after the decisions (default: current)",
    ),
)
_ENGINE_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(list(list_engines())),
        help="what computes the shards: this process, others of this machine, ranks that torchrun "
        f"or Slurm has started, or a cluster (default: {DEFAULT_ENGINE}); docs/scale.md",
    ),
    click.option(
        "--workers",
        type=whole(1, LARGEST_NUMBER),
        metavar="N",
        help="processes of the engine (default: one a GPU or a core)",
    ),
    click.option(
        "--address",
        metavar="ADDRESS",
        help="of a running Dask scheduler or Ray cluster (default: one is started here)",
    ),
)


def _take(
    *groups: tuple[Callable[[Decorated], Decorated], ...],
) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds groups of options, which the help shows in this order."""

    def add(function: Decorated) -> Decorated:
        for group in reversed(groups):
            for option in reversed(group):
                function = option(function)
        return function

    return add


@command
@project_argument
@_take(_MODEL_OPTIONS, _TRAINING_OPTIONS, _ASKING_OPTIONS, _SCORING_OPTIONS, _ENGINE_OPTIONS)
@click.option("--no-score", is_flag=True, help="only train")
@background_option
def train(location: Location, project: str, no_score: bool, background: bool, **given: Any) -> int:
    """Train, or start it, and say what came of it."""
    if given["engine"] == "ranks":
        raise ConfigurationError(
            "Found --engine ranks at a training, which is one process's; expected it at a scoring. "
            f"Train first, with --no-score; then start {find_program_name()} score as ranks."
        )
    opened = open_project(location, project)
    job_options = collect_work_options(given) | {"then_score": not no_score}
    job = run_or_enqueue(opened, project, "train", job_options, background=background)
    if job is not None:
        print_run_summary(job)
    return 0


@command
@project_argument
@_take(_MODEL_OPTIONS, _CHECKPOINT_OPTIONS, _ASKING_OPTIONS, _SCORING_OPTIONS, _ENGINE_OPTIONS)
@background_option
def score(location: Location, project: str, background: bool, **given: Any) -> int:
    """Score, or start it, and say what came of it."""
    opened = open_project(location, project)
    if given["checkpoints"] is None:
        _refuse_asking(given)
    job_options = collect_work_options(given)
    if given["model"] is None and given["checkpoints"] is None:
        agreed = agree_to_saved(opened, given["run_my_code"], of_run=False)
        job_options |= {"run_my_code": agreed}
    if given["engine"] == "ranks" and read_rank()[0] > 0:
        return _assist(opened, job_options)
    job = run_or_enqueue(opened, project, "score", job_options, background=background)
    if job is not None:
        print_run_summary(job)
    return 0


def _assist(opened: OpenedProject, job_options: Mapping[str, Any]) -> int:
    """Do the shards of this rank; the first one has the job, its progress and its end."""
    from relabel.scoring.project import assist_scoring

    slug, (rank, world) = opened.project.slug, read_rank()
    options = WorkOptions.from_json(job_options)
    assist_scoring(opened.engine, opened.workspace, slug, options)
    print(f"{slug}: rank {rank} of {world} has done its shards")
    return 0


@command
@project_argument
@click.option("--run-my-code", is_flag=True, help="agree to run the file of your own network again")
@background_option
def rescore(location: Location, project: str, run_my_code: bool, background: bool) -> int:
    """Rescore, or start it, and say what came of it."""
    opened = open_project(location, project)
    opened.current_run()
    anew = estimate_full_rescoring(opened.engine, opened.project.slug)
    if anew is not None:
        print(explain_full_rescoring(anew))
    agreed = agree_to_saved(opened, run_my_code, of_run=True)
    job_options = {"run_my_code": agreed}
    job = run_or_enqueue(opened, project, "rescore", job_options, background=background)
    if job is not None:
        print_run_summary(job)
        computed = job.result["examples_computed"]
        print(f"{counted(computed, 'example')} {'was' if computed == 1 else 'were'} computed.")
    return 0


def _refuse_asking(given: Mapping[str, Any]) -> None:
    """Refuse options of a cross-validation where none is made."""
    names = ("folds", "features", "weights", "allow_download")
    said = [f"--{name.replace('_', '-')}" for name in names if given[name] not in (None, False)]
    if said:
        raise ConfigurationError(
            f"Found {', '.join(said)} without --checkpoints: what was trained here is asked about "
            f"when it is trained. Give {'it' if len(said) == 1 else 'them'} to "
            f"{find_program_name()} train, or leave {'it' if len(said) == 1 else 'them'} out."
        )


def run_or_enqueue(
    opened: OpenedWorkspace, slug: str, kind: str, job_options: dict[str, Any], *, background: bool
) -> Job | None:
    """Run a job here, with its progress on stderr; or start it, print that, and return None."""
    if background:
        job = start_job(opened.engine, opened.workspace, slug, kind, job_options)
        print(
            f"{slug}: job {job.id} ({kind}) is started. See it: {find_program_name()} jobs; its "
            f"log: {find_program_name()} jobs --log {job.id}"
        )
        return None
    with show_progress(slug) as report:
        return run_job_inline(opened.engine, opened.workspace, slug, kind, job_options, show=report)


def print_run_summary(job: Job) -> None:
    """Print which run a finished job has made, and what to look at next."""
    slug, seconds = job.project_slug, 0.0
    if job.started_at is not None and job.finished_at is not None:
        seconds = (job.finished_at - job.started_at).total_seconds()
    made = " and ".join(
        f"{what} {job.result[what]}" for what in ("training", "run") if what in job.result
    )
    print(f"{slug}: {made} in {seconds:.1f} s")
    if job.result.get("last_layer"):
        print(f"{slug}: ranked by the last layer: {', '.join(job.result['last_layer'])}")
    if job.result.get("course"):
        print(f"Trained {job.result['course']}")
    for sentence in job.result.get("unseen") or ():
        print(sentence)
    for warning in job.result.get("warnings") or ():
        print_warning(warning)
    if sys.stdout.isatty() and "run" in job.result:
        print(f"See the suspects: {find_program_name()} queue {slug}")


def collect_work_options(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given, checked, as a job's options; paths are made absolute.

    Raises:
        ConfigurationError: If a value cannot work, or running the person's file is not agreed to.
    """
    names = {field.name for field in fields(WorkOptions)}
    given = {name: value for name, value in said.items() if name in names and value is not None}
    for name in _PATHS:
        if name in given:
            given[name] = str(expand_path(given[name]).resolve())
    if "features" in given:  # may name a file or a folder, as the person who types it sees it
        given["features"] = resolve_member(given["features"])
    given["run_my_code"] = False
    if "model" in given:
        given["model"], given["run_my_code"] = agree_to_model(given["model"], said["run_my_code"])
    return WorkOptions(**given).to_json()


def agree_to_model(model: str, agreed: bool) -> tuple[str, Consent]:
    """Return the model's name, and the digest of the person's own file where it may be run.

    Args:
        model: As it was typed; the path of a file becomes absolute.
        agreed: Whether it was agreed to already; otherwise the person is asked.

    Raises:
        ConfigurationError: If it was not agreed to, or there is no such file.
    """
    if not is_reference(model):
        return model, False
    file, function = read_reference(model)
    path = file.resolve()
    digest = hash_source(read_source(path))
    _require_yes(path, agreed)
    return f"{path}:{function}", digest


def agree_to_saved(opened: OpenedProject, agreed: bool, *, of_run: bool) -> Consent:
    """Return the digest of the person's file that a saved network needs, where it may be run.

    Args:
        opened: The project.
        agreed: As for ``agree_to_model``.
        of_run: Whether the network is that of the current run, not of the newest training.

    Returns:
        False where the network is a built-in one, or there is none.

    Raises:
        ConfigurationError: If it was not agreed to.
    """
    model = find_saved_model(opened.engine, opened.workspace, opened.project, of_run=of_run)
    if model is None or not needs_consent(model):
        return False
    _require_yes(Path(str(model["file"])), agreed)
    return str(model["sha256"])


def _require_yes(path: Path, agreed: bool) -> None:
    """Require a yes to running a file, by question unless it was given already."""
    question = f"Run {path}? It can do whatever you can do on this machine."
    if not agreed and not confirm(question, "--run-my-code"):
        raise ConfigurationError(
            f"Running {path} was not agreed to, and nothing was done. Look at the file, then add "
            "--run-my-code, or choose a built-in network."
        )
