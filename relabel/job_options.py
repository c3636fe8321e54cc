"""Options of a job as they are stored with it, which another version may have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tracin_core.errors import ConfigurationError


def check_known_options(known: type[Any], data: Mapping[str, Any]) -> None:
    """Refuse stored options that a class of options does not have.

    Args:
        known: A dataclass, a field for each option.
        data: The options by name.

    Raises:
        ConfigurationError: If one is unknown.
    """
    unknown = set(data) - {entry.name for entry in fields(known)}
    if unknown:
        raise ConfigurationError(
            f"Found options that this version does not know: {', '.join(sorted(unknown))}. "
            "Update the program, or start the job again."
        )
