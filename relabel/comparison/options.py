"""What a person can choose about a comparison; kept with the job as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from relabel.job_options import check_known_options
from relabel.text import LARGEST_SEED
from tracin_core.errors import ConfigurationError

USUAL_EXAMPLES, MOST_EXAMPLES = 20, 1_000


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared.

    Attributes:
        methods: Names of ``list_contenders``; none for the usual ones.
        examples: So many test examples, drawn at random, have their proponents compared.
        also: Numbers of further examples, of either split, whose proponents are kept.
        seed: Of the draw.
        truth: A file with what is truly right, an absolute path; "" for what the project knows.
        device: Where to compute.
    """

    methods: tuple[str, ...] = ()
    examples: int = USUAL_EXAMPLES
    also: tuple[int, ...] = ()
    seed: int = 0
    truth: str = ""
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigurationError: If one cannot work.
        """
        if not (type(self.examples) is int and 0 <= self.examples <= MOST_EXAMPLES):
            raise ConfigurationError(
                f"Found examples = {self.examples!r:.80}; expected a whole number from 0 to "
                f"{MOST_EXAMPLES:,}. Give another --examples."
            )
        if not (type(self.seed) is int and 0 <= self.seed <= LARGEST_SEED):
            raise ConfigurationError(
                f"Found seed = {self.seed!r:.80}; expected a whole number from 0 to "
                f"{LARGEST_SEED}. Give another --seed."
            )

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` makes equal options of."""
        return asdict(self) | {"methods": list(self.methods), "also": list(self.also)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CompareOptions:
        """Return the options that ``to_json`` described.

        Raises:
            ConfigurationError: If one is unknown or cannot work.
        """
        check_known_options(cls, data)
        lists = {name: tuple(data[name]) for name in ("methods", "also") if name in data}
        return cls(**{**data, **lists})
