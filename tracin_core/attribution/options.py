"""Reads the options of methods, so that none is lost in silence; free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracin_core.errors import ConfigurationError


def read_options(
    title: str, options: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a method's options with the usual values for those that are not given.

    Args:
        title: The method, for messages.
        options: As they were given.
        usual: All options there are, with their usual values; a number stands for numbers above 0,
            a text for itself or the others of ``CHOICES``.

    Raises:
        ConfigurationError: If an option is unknown or has a value that cannot work.
    """
    if unknown := sorted(set(options) - set(usual)):
        expected = f"some of {', '.join(usual)}" if usual else "none"
        raise ConfigurationError(
            f"Found the option {unknown[0]!r} of {title}; expected {expected}. Leave it out."
        )
    for name, value in options.items():
        if isinstance(usual[name], str):
            known = CHOICES[name]
            if value not in known:
                raise ConfigurationError(
                    f"Found {name}={value!r} of {title}; expected one of {', '.join(known)}."
                )
        elif not _is_positive(value, type(usual[name])):
            raise ConfigurationError(
                f"Found {name}={value!r} of {title}; expected a number above 0, such as "
                f"{usual[name]}."
            )
    return {**usual, **options}


# What options that are words can be.
CHOICES: dict[str, tuple[str, ...]] = {
    "explain": ("predicted", "given"),
    "layers": ("last", "all"),
    "similarity": ("cosine", "dot", "distance"),
}


def _is_positive(value: object, kind: type) -> bool:
    allowed = int if kind is int else int | float
    return isinstance(value, allowed) and not isinstance(value, bool) and 0 < value < float("inf")
