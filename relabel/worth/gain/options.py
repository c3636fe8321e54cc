"""What a person can choose about a measurement of the gain; kept with the job as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from relabel.job_options import check_known_options
from relabel.text import LARGEST_SEED
from tracin_core.errors import ConfigurationError

# "head": a linear model over what is stored of the examples, seconds; "network": the network that
# the project was scored with, trained from its beginning each time.
Learner = Literal["head", "network"]
# Fewer say nothing about how much chance alone moves a training.
LEAST_SEEDS, MOST_SEEDS = 3, 100
USUAL_SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class GainOptions:
    """How the gain is measured.

    Attributes:
        learner: What is trained.
        seeds: How often; each time with other initial weights and another order of the batches,
            which all arms share.
        first_seed: The first of them; the others follow.
        features: Backbone whose features the linear model reads; "auto" is the one at hand.
    """

    learner: Learner = "head"
    seeds: int = USUAL_SEEDS
    first_seed: int = 0
    features: str = "auto"

    def __post_init__(self) -> None:
        if self.learner not in get_args(Learner):
            raise ConfigurationError(
                f"Found learner = {self.learner!r:.80}; expected {' or '.join(get_args(Learner))}. "
                "Correct it."
            )
        if not (type(self.seeds) is int and LEAST_SEEDS <= self.seeds <= MOST_SEEDS):
            raise ConfigurationError(
                f"Found seeds = {self.seeds!r:.80}; expected a whole number from {LEAST_SEEDS} to "
                f"{MOST_SEEDS}. Give another --seeds."
            )
        last = LARGEST_SEED - MOST_SEEDS
        if not (type(self.first_seed) is int and 0 <= self.first_seed <= last):
            raise ConfigurationError(
                f"Found first_seed = {self.first_seed!r:.80}; expected a whole number from 0 to "
                f"{last}. Give another --seed."
            )

    @property
    def every_seed(self) -> tuple[int, ...]:
        """Return the seeds, in order."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes equal options of."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GainOptions:
        """Return the options that ``to_json`` described.

        Raises:
            ConfigurationError: If one is unknown or cannot work.
        """
        check_known_options(cls, data)
        return cls(**data)
