"""What a person can choose about a training and a scoring; kept with the job as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from relabel.job_options import check_known_options
from relabel.models.user.config import Consent
from relabel.runs.config import Rates
from relabel.text import LARGEST_NUMBER, LARGEST_RATE, LARGEST_SEED, LayerChoice
from tracin_core.attribution import DEFAULT_METHOD, get_method
from tracin_core.errors import ConfigurationError
from tracin_core.scale import DEFAULT_ENGINE, get_engine

LabelChoice = Literal["given", "current"]
_CHOICES = {
    "layers": get_args(LayerChoice),
    "rates": get_args(Rates),
    "labels": get_args(LabelChoice),
}
MOST_EPOCHS = 1_000_000
MOST_FOLDS = 100
_BOUNDS = {
    "epochs": (1, MOST_EPOCHS),
    "batch_size": (1, LARGEST_NUMBER),
    "seed": (0, LARGEST_SEED),
    "num_checkpoints": (1, MOST_EPOCHS),
    "patience": (1, MOST_EPOCHS),
    "workers": (1, LARGEST_NUMBER),
}


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Options of a training and of a scoring; what is None is chosen by the data.

    Attributes:
        model: Name of a built-in network, "auto", or ``path/to/file.py:function``.
        checkpoints: Folder with checkpoints of the person's own training; then nothing is
            trained.
        learning_rate_of_checkpoints: Their learning rate, where the files lack it.
        epochs: Passes over the train examples.
        learning_rate: First step size.
        batch_size: Examples per step.
        seed: Of the initial weights, the order of the examples and any dropout.
        num_checkpoints: Checkpoints to score with at most.
        patience: Epochs without a lower test loss after which the training stops.
        device: "auto", or a device as torch names it.
        weights: Local file with weights to begin with, for resnet18; or for a network on features,
            in the place of the backbone's published ones.
        features: Backbone whose features a network takes; "auto" is the best one that is at hand,
            "none" does without.
        allow_download: Whether a backbone's weights may be fetched from where they are published.
        folds: Parts that the train examples are cut into, so that models which have not seen an
            example can be asked about it; None is chosen by their number, 0 asks nobody. Where a
            person says how many, slow networks are asked, too.
        steps: Checkpoints that a person chose, by their steps; None for those recommended.
        layers: Whose norms and vectors are computed: all layers' and the last one's ("both"), or
            the last one's alone, which takes little more than a forward pass.
        last_layer: Names of the network's modules that are the last layer, by whose
            self-influence suspects are ranked; None finds it.
        rates: Whether each checkpoint counts with its learning rate, or all the same.
        method: Name of the attribution method.
        method_options: The method's own, by name; what is not there is as usual.
        labels: The data's, or those in force after the decisions. With the second, examples
            that were excluded are not trained on.
        engine: What does the shards of a scoring: this process, others, or a cluster.
        workers: Its processes; None for one a GPU or a core.
        address: Of a running cluster, for the engines that have one.
        run_my_code: Whether the person has agreed to run the file of their own network: in a job
            the digest of the file that they agreed to.
    """

    model: str = "auto"
    checkpoints: str | None = None
    learning_rate_of_checkpoints: float | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    seed: int = 0
    num_checkpoints: int | None = None
    patience: int | None = None
    device: str = "auto"
    weights: str | None = None
    features: str = "auto"
    allow_download: bool = False
    folds: int | None = None
    steps: tuple[int, ...] | None = None
    layers: LayerChoice = "both"
    last_layer: tuple[str, ...] | None = None
    rates: Rates = "ones"
    method: str = DEFAULT_METHOD
    method_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    labels: LabelChoice = "current"
    engine: str = DEFAULT_ENGINE
    workers: int | None = None
    address: str | None = None
    run_my_code: Consent = False

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(
                    f"Found {name} = {getattr(self, name)!r}; expected {' or '.join(allowed)}. "
                    "Correct it."
                )
        get_method(self.method)
        get_engine(self.engine)
        for name, (least, most) in _BOUNDS.items():
            number = getattr(self, name)
            if number is not None and not (type(number) is int and least <= number <= most):
                raise ConfigurationError(
                    f"Found {name} = {number!r:.80}; expected a whole number from {least:,} to "
                    f"{most:,}. Correct it."
                )
        if self.folds is not None and not (
            type(self.folds) is int and (self.folds == 0 or 2 <= self.folds <= MOST_FOLDS)
        ):
            raise ConfigurationError(
                f"Found folds = {self.folds!r:.80}; expected 2 to {MOST_FOLDS}, or 0 for no "
                "cross-validation. Give another --folds."
            )
        for name in ("learning_rate", "learning_rate_of_checkpoints"):
            rate = getattr(self, name)
            if rate is not None and not (type(rate) in (int, float) and 0 < rate <= LARGEST_RATE):
                raise ConfigurationError(
                    f"Found {name} = {rate!r:.80}; expected a number above 0, at most "
                    f"{LARGEST_RATE:g}. Give another --{name.replace('_', '-')}."
                )
        if self.steps is not None and not self.steps:
            raise ConfigurationError(
                "Found an empty choice of checkpoints; expected at least one. Choose one or "
                "more, or leave the choice to the program."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes equal options of."""
        values = asdict(self)
        lists = {name: values[name] for name in ("steps", "last_layer")}
        return values | {name: None if v is None else list(v) for name, v in lists.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorkOptions:
        """Return the options that ``to_json`` described.

        Raises:
            ConfigurationError: If one is unknown or cannot work.
        """
        check_known_options(cls, data)
        values = dict(data)
        if values.get("steps") is not None:
            values["steps"] = tuple(int(step) for step in values["steps"])
        if values.get("last_layer") is not None:
            values["last_layer"] = tuple(map(str, values["last_layer"]))
        return cls(**values)
