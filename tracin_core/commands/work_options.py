"""The options that training and scoring share in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracin_core.commands.numbers import number, seed, whole
from tracin_core.influence.attributor import DEFAULT_METHOD, list_methods
from tracin_core.terms import LARGEST_NUMBER, LARGEST_RATE

if TYPE_CHECKING:
    from tracin_core.commands.opening import OpenedProject
    from tracin_core.models.own import Consent

# As in `fitting.work_options`, which would load half the program for every other command.
MOST_EPOCHS = 1_000_000
positive = number("a number above 0", lambda found: 0 < found <= LARGEST_RATE)
# Options whose values are paths, as the person who types them sees them.
_PATHS = ("checkpoints", "weights")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare the network."""
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="a built-in network, or path/to/file.py:function for your own (default: by the data)",
    )
    parser.add_argument(
        "--run-my-code",
        action="store_true",
        help="agree to run the file of --model, which may do whatever you may do",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, ... (default: auto)")


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Declare how it is trained; what is not given is chosen by the data."""
    parser.add_argument(
        "--epochs",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="passes over the train examples (default: as many as lower the loss on held-out "
        "examples, within three minutes of training)",
    )
    parser.add_argument("--learning-rate", type=positive, metavar="RATE")
    parser.add_argument("--batch-size", type=whole(1, LARGEST_NUMBER), metavar="N", help="examples")
    parser.add_argument(
        "--seed", type=seed, metavar="N", help="of weights and batches (default: 0)"
    )
    parser.add_argument(
        "--num-checkpoints",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="checkpoints that are scored",
    )
    parser.add_argument(
        "--patience",
        type=whole(1, MOST_EPOCHS),
        metavar="N",
        help="stop after so many epochs without a better test loss",
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights to begin with, for resnet18"
    )


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Declare which checkpoints are scored, and how."""
    parser.add_argument(
        "--steps", type=_steps, metavar="N,N,...", help="checkpoints to use, by their steps"
    )
    parser.add_argument(
        "--layers",
        choices=("both", "last"),
        help="scores and vectors of all layers and the last one, or of the last one alone, which "
        "takes little more than a forward pass (default: both)",
    )
    parser.add_argument(
        "--last-layer",
        type=_names,
        metavar="NAME,...",
        help="modules of the network that are its last layer, by which suspects are ranked "
        "(default: found, the last map from features to outputs)",
    )
    parser.add_argument(
        "--rates",
        choices=("ones", "recorded"),
        help="weight of each checkpoint: equal, or its learning rate (default: ones)",
    )
    parser.add_argument(
        "--method",
        choices=tuple(list_methods()),
        help=f"attribution method that scores the train examples (default: {DEFAULT_METHOD})",
    )
    parser.add_argument(
        "--labels",
        choices=("given", "current"),
        help="the data's labels, or those in force after the decisions (default: current)",
    )


def collect_work_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, checked, as a job's options; paths are made absolute.

    Raises:
        ConfigurationError: If a value cannot work, or running the person's file is not agreed to.
    """
    from dataclasses import fields

    from tracin_core.files import expand_path
    from tracin_core.fitting.work_options import WorkOptions

    names = {field.name for field in fields(WorkOptions)}
    given = {
        name: value for name, value in vars(options).items() if name in names and value is not None
    }
    for name in _PATHS:
        if name in given:
            given[name] = str(expand_path(given[name]).resolve())
    given["run_my_code"] = False
    if "model" in given:
        given["model"], given["run_my_code"] = agree_to_model(given["model"], options.run_my_code)
    return WorkOptions(**given).to_json()


def agree_to_model(model: str, agreed: bool) -> tuple[str, Consent]:
    """Return the model's name, and the digest of the person's own file where it may be run.

    Args:
        model: As it was typed; the path of a file becomes absolute.
        agreed: Whether it was agreed to already; otherwise the person is asked.

    Raises:
        ConfigurationError: If it was not agreed to, or there is no such file.
    """
    from tracin_core.models.own import hash_source, is_reference, read_reference, read_source

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
    from tracin_core.fitting.own_saved import find_saved_model
    from tracin_core.models.own import needs_consent

    model = find_saved_model(opened.engine, opened.workspace, opened.project, of_run=of_run)
    if model is None or not needs_consent(model):
        return False
    _require_yes(Path(str(model["file"])), agreed)
    return str(model["sha256"])


def _require_yes(path: Path, agreed: bool) -> None:
    """Ask whether a file may be run, unless that was said already."""
    from tracin_core.commands.asking import confirm
    from tracin_core.errors import ConfigurationError

    question = f"Run {path}? It can do whatever you can do on this machine."
    if not agreed and not confirm(question, "--run-my-code"):
        raise ConfigurationError(
            f"Running {path} was not agreed to, and nothing was done. Look at the file, then add "
            "--run-my-code, or choose a built-in network."
        )


def _names(text: str) -> tuple[str, ...]:
    """Return names that stand with commas between."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected names of modules, with commas between"
        )
    return names


def _steps(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and len(part.strip()) < 16 for part in parts):
        raise argparse.ArgumentTypeError(f"{text[:80]} is no list of steps such as 180,360")
    return tuple(int(part) for part in parts)
