"""Checks and sizes that the configurations of networks share."""

from __future__ import annotations

from typing import Any

from tracin_core.errors import ConfigurationError

# From so many classes on, a hidden layer of 64 numbers holds too little to tell them apart; with
# many more the outputs are most of the network, so it grows no further.
MANY_CLASSES, WIDE, NARROW = 100, 256, 64


def choose_hidden(num_outputs: int) -> int:
    """Return the width of a hidden layer before so many outputs."""
    return WIDE if num_outputs >= MANY_CLASSES else NARROW


def require_at_least(config: Any, smallest: dict[str, int]) -> None:
    """See that settings are not smaller than they can be.

    Args:
        config: A network's configuration.
        smallest: Least value by the setting's name.

    Raises:
        ConfigurationError: If one is.
    """
    for name, least in smallest.items():
        value = getattr(config, name)
        if value < least:
            raise ConfigurationError(
                f"Found {name} = {value} for the {config.name} network, expected at least "
                f"{least}. Correct it in the model's settings."
            )
