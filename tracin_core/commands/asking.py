"""Questions to the person at the terminal, and what to do where there is none."""

from __future__ import annotations

import sys

from tracin_core.errors import ConfigurationError


def confirm(question: str, option: str) -> bool:
    """Ask a question that is answered with yes or no; no by default.

    Args:
        question: What is asked.
        option: What a script says instead, such as "--yes".

    Raises:
        ConfigurationError: If nobody can be asked.
    """
    return ask(f"{question} [y/N] ", option).strip().lower() in ("y", "yes")


def ask(question: str, option: str) -> str:
    """Ask a question and return the answer, "" where there is none.

    Raises:
        ConfigurationError: If nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"This needs an answer: {question.strip()} Expected a person at the terminal; in a "
            f"script, say {option}."
        )
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n")
