"""A progress bar where somebody is looking: in a terminal or a notebook, if tqdm is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from tracin_core.errors import ConfigurationError

# Called with (examples done, all), each counted once per checkpoint.
Progress = Callable[[int, int], None]

# What is done in less time needs no bar.
DELAY_SECONDS = 1.0


def check_progress(progress: bool | None) -> None:
    """Refuse a bar that was asked for and cannot be shown.

    Raises:
        ConfigurationError: If tqdm is not installed.
    """
    if progress and find_spec("tqdm") is None:
        raise ConfigurationError(
            "Found progress=True, and tqdm is not installed; expected it for a bar. Run pip "
            "install tqdm, or pass on_progress= to a method."
        )


def is_watched() -> bool:
    """Return whether errors and bars go to a terminal or a notebook."""
    shell = sys.modules.get("IPython")
    in_notebook = shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
    return in_notebook or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def show_progress(progress: bool | None, on_progress: Progress | None) -> Iterator[Progress | None]:
    """Yield whom to tell of progress: the caller's function, or a bar's that appears after 1 s.

    Args:
        progress: True for a bar, False for none, None for one where somebody is looking.
        on_progress: The caller's own, which needs no bar beside it.
    """
    wanted = is_watched() if progress is None else progress
    if on_progress is not None or not wanted or find_spec("tqdm") is None:
        yield on_progress
        return
    from tqdm.auto import tqdm

    # A bar that was asked for is shown at once, but none for a run that reports nothing.
    delay = 0.0 if progress else DELAY_SECONDS
    bars: list[Any] = []

    def tell(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(total=total, unit=" examples", delay=delay, leave=False))
        bars[0].update(done - bars[0].n)

    try:
        yield tell
    finally:
        for bar in bars:
            bar.close()
