"""The table of engines. An engine is one file in ``engines`` that registers itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tracin_core.errors import ConfigurationError
from tracin_core.scale.config import EngineConfig, ShardResult
from tracin_core.scale.shard_queue import ShardQueue

DEFAULT_ENGINE = "serial"
_FOLDER = "tracin_core.scale.engines"

# Takes shards from the queue, does the work on each and yields what came of it; when it is
# closed, its workers stop.
Run = Callable[
    [Callable[[Any], Any], ShardQueue[Any], EngineConfig], Generator[ShardResult[Any], None, None]
]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An entry of the table.

    Attributes:
        name: As it stands on the command line.
        title: For people.
        run: Does the shards of a queue.
    """

    name: str
    title: str
    run: Run


_ENGINES: dict[str, Engine] = {}


def register_engine(name: str, title: str) -> Callable[[Run], Run]:
    """Enter an engine into the table; used as a decorator.

    Args:
        name: As it is to stand on the command line.
        title: For people.

    Raises:
        ConfigurationError: If the name is taken.
    """

    def enter(run: Run) -> Run:
        if name in _ENGINES and _ENGINES[name].run is not run:
            raise ConfigurationError(
                f"There is an engine called {name!r} already. Choose another name."
            )
        _ENGINES[name] = Engine(name=name, title=title, run=run)
        return run

    return enter


def list_engines() -> dict[str, Engine]:
    """Return all engines by name, the default one first; no library of theirs is loaded."""
    for module in iter_modules(import_module(_FOLDER).__path__):
        import_module(f"{_FOLDER}.{module.name}")
    return {DEFAULT_ENGINE: _ENGINES[DEFAULT_ENGINE], **_ENGINES}


def get_engine(name: str) -> Engine:
    """Return one engine.

    Raises:
        ConfigurationError: If there is none of this name.
    """
    engines = list_engines()
    if name not in engines:
        raise ConfigurationError(
            f"There is no engine called {name!r:.80}. Choose one of: {', '.join(engines)}."
        )
    return engines[name]


def describe_missing(library: str, extra: str) -> str:
    """Return what to do where the library of an engine is not installed."""
    return (
        f"The engine {extra!r} needs {library}, which is not installed. Install it: pip install "
        f"'tracin-relabel[{extra}]', or 'tracin-core[{extra}]' for the engine alone; or choose "
        f"one that needs nothing: serial, pool or ranks."
    )
