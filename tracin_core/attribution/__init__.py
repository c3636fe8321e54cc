"""Attribution methods: what each gives of the train examples, and the table of all there are.

A method is one file in this folder: a class that ``register_attributor`` enters under a name.
Neither this module nor a method's file imports torch at the top, because pages and the command
line list the methods without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

    from tracin_core.capture.signals import Capture
    from tracin_core.projection.config import Projection
    from tracin_core.tracin import TracIn

DEFAULT_METHOD = "tracincp"
_SCORE_NAME = re.compile(r"\w{1,64}", re.ASCII)

# What a method reads. Of one that needs the whole train set, an example's score depends on the
# others, so that none is taken over from an earlier run.
Need = Literal[
    "checkpoints", "learning rates", "loss", "labels", "last layer", "gradients", "whole train set"
]


@dataclass(frozen=True, kw_only=True)
class AttributionSetup:
    """What a method is made from.

    Attributes:
        tracin: The engine's front door: model, checkpoints, loss, device and the capture pass.
        rates: Whether checkpoints count with their learning rates, or all the same.
        projection: Of the gradient vectors, by "all" and "last" layers; None where they are exact.
        options: The method's own, by name. Its whole configuration is accepted too, and makes an
            equal method.
    """

    tracin: TracIn
    rates: Literal["ones", "recorded"] = "recorded"
    projection: Mapping[str, Projection | None] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Attributor(Protocol):
    """A method that attributes what a model does to its train examples.

    It is made from an ``AttributionSetup``. Its configuration follows from the setup's rates,
    projection and options alone, because a run is named after it before any weights are read.
    """

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What decides the numbers beside model, data and checkpoints, as JSON."""

    @property
    def needs(self) -> frozenset[Need]:
        """What the method reads."""

    def scores(self, train: Any) -> Mapping[str, Tensor]:
        """Return named scores of N train examples, shape ``(N,)`` each, high for suspects."""

    def influence(self, train: Any, test: Any) -> Tensor:
        """Return the influence of N train on M test examples, shape ``(N, M)``, as ``TracIn``."""


@runtime_checkable
class VectorAttributor(Protocol):
    """A method whose influences are dot products of vectors."""

    def vectors(self, examples: Any, projection: Projection | None = None) -> Tensor:
        """Return vectors of N examples, shape ``(N, D)``; ``projection.dim`` numbers if given."""


@runtime_checkable
class CaptureAttributor(Protocol):
    """A method whose scores are in what the capture pass measures, so that it takes no other."""

    def read_capture(self, capture: Capture) -> Mapping[str, Tensor]:
        """Return named scores at each checkpoint, shape ``(C, N)``; learning rates left out."""


@runtime_checkable
class FittedAttributor(Protocol):
    """A method that looks at the whole train set before it scores a part of it."""

    def fit(self, train: Any) -> None:
        """Learn from all train examples; the same examples give the same scores afterwards."""


@dataclass(frozen=True, kw_only=True)
class AttributionMethod:
    """An entry of the table of methods.

    Attributes:
        name: As it stands in ``run.json`` and on the command line.
        title: For people.
        scores: By the names of its scores, what they are called in charts and lists.
        quantity: What the scores are, for the axis of a chart.
        make: Makes the method from a setup.
    """

    name: str
    title: str
    scores: Mapping[str, str]
    quantity: str
    make: Callable[[AttributionSetup], Attributor]


_METHODS: dict[str, AttributionMethod] = {}

Made = Callable[[AttributionSetup], Attributor]
_M = TypeVar("_M", bound=Made)


def register_attributor(
    name: str, title: str, *, scores: Mapping[str, str], quantity: str = "score"
) -> Callable[[_M], _M]:
    """Enter a method into the table; used as a decorator of its class.

    Args:
        name: As it is to stand in ``run.json`` and on the command line.
        title: For people.
        scores: By the names of its scores, what they are called in charts and lists. A name is a
            column's: letters, digits and underscores.
        quantity: What the scores are, for the axis of a chart.

    Raises:
        ConfigurationError: If the name is taken, empty or not printable, or a score's is no name
            of a column.
    """
    if not name.strip() or not name.isprintable():
        raise ConfigurationError(
            f"Found {name!r:.80} as the name of an attribution method; expected printable "
            "characters. Choose another name."
        )
    for score in scores:
        if _SCORE_NAME.fullmatch(score) is None:
            raise ConfigurationError(
                f"The attribution method {name!r} calls a score {score!r:.80}; expected 1 to 64 "
                "letters, digits and underscores. Choose another name."
            )

    def enter(make: _M) -> _M:
        if name in _METHODS and _METHODS[name].make is not make:
            raise ConfigurationError(
                f"There is an attribution method called {name!r} already. Choose another name."
            )
        _METHODS[name] = AttributionMethod(
            name=name, title=title, scores=dict(scores), quantity=quantity, make=make
        )
        return make

    return enter


@contextmanager
def register_temporarily(
    make: Made, name: str, title: str, *, scores: Mapping[str, str], quantity: str = "score"
) -> Iterator[AttributionMethod]:
    """Enter a method for the length of a block, as a test or a notebook does."""
    register_attributor(name, title, scores=scores, quantity=quantity)(make)
    try:
        yield _METHODS[name]
    finally:
        del _METHODS[name]


def list_methods() -> dict[str, AttributionMethod]:
    """Return all methods by name, the default one first, without loading torch."""
    return {DEFAULT_METHOD: _METHODS[DEFAULT_METHOD], **_METHODS}


def load_methods(folders: Iterable[str]) -> None:
    """Import every module of the folders of this package, which registers its method."""
    for module in iter_modules(list(folders)):
        import_module(f"{__name__}.{module.name}")


def get_method(name: str) -> AttributionMethod:
    """Return one method.

    Raises:
        ConfigurationError: If there is none of this name.
    """
    methods = list_methods()
    if name not in methods:
        raise ConfigurationError(
            f"There is no attribution method called {name!r}. Choose one of: {', '.join(methods)}."
        )
    return methods[name]


# Last, because the methods' files import this one.
load_methods(__path__)
