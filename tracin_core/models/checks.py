"""Checks that the configurations of networks share."""

from __future__ import annotations

from typing import Any

from tracin_core.errors import ConfigurationError


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
