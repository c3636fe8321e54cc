"""The table of built-in networks, which training, pages, command line and saved files read.

A network is a configuration class that registers itself, in one file of ``networks``; checks that
configurations share are here as well. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, get_args

from relabel.text import KINDS, TASKS, Kind, Task
from tracin_core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn


# What a network is given of an example: what the encoder of its kind makes (pixels, word ids, a
# row's numbers), the features of a frozen backbone, or the weights of words and pairs of words.
Takes = Literal["inputs", "features", "ngrams"]

# Every file of this folder is imported, and registers what it holds.
_FOLDER = "relabel.models.networks"


class NetworkConfig(Protocol):
    """What a built-in network is made from: a frozen dataclass, saved as JSON with every run."""

    name: ClassVar[str]

    @property
    def num_outputs(self) -> int:
        """Return the number of logits ``K``, or 1 for regression."""

    @property
    def seed(self) -> int:
        """Return the seed of the initial weights."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``model_config_from_json`` makes an equal configuration of."""

    @classmethod
    def for_encoder(cls, encoder: Any, request: NetworkRequest) -> NetworkConfig:
        """Return the configuration that fits what an encoder makes of the examples."""


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    """What is asked of a network beside fitting its encoder.

    Attributes:
        num_outputs: Logits ``K``, or 1 for regression.
        seed: Chooses the initial weights.
        weights: Local file with weights to begin with.
        weights_sha256: Digest of that file.
    """

    num_outputs: int
    seed: int = 0
    weights: str | None = None
    weights_sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainingSuggestion:
    """Options that train a network well where nobody chooses them.

    Attributes:
        epochs: Passes over a middling number of examples.
        learning_rate: First step size.
        weight_decay: L2 penalty.
        is_large: Whether it gains from a GPU and several threads on any data.
        batch_size: Examples per step; None for the usual number.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    is_large: bool = False
    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """One built-in network.

    Attributes:
        config: The class of its configurations.
        title: How pages name it.
        description: What it is good for, and what it costs, in a sentence or two.
        kinds: What an example can be, the usual one first.
        tasks: What it can predict.
        build: From a configuration to the network; or where that function is, as
            "module:function", which is imported when first needed.
        training: Options that train it.
        takes: What it is given of an example, which decides the encoder that is fitted for it.
        is_suggested: Whether it is taken for its kind where nobody chooses.
        largest_side: Longest side of its input in pixels, where it is not the usual one.
        weights_side: The same where weights to begin with are given.
        load_weights: Puts those weights into a network, as ``build`` names it; ``None`` where it
            always begins from scratch.
    """

    config: type[NetworkConfig]
    title: str
    description: str
    kinds: tuple[Kind, ...]
    tasks: tuple[Task, ...]
    build: str | Callable[[Any], nn.Module]
    training: TrainingSuggestion
    takes: Takes = "inputs"
    is_suggested: bool = False
    largest_side: int | None = None
    weights_side: int | None = None
    load_weights: str | Callable[[nn.Module, Any], None] | None = None

    @property
    def name(self) -> str:
        """Return its name in files and options."""
        return self.config.name

    def make(self, config: NetworkConfig) -> nn.Module:
        """Return the network of a configuration, with weights by torch's random state."""
        network: nn.Module = _find_function(self.build)(config)
        return network

    def initialise(self, model: nn.Module, config: NetworkConfig) -> None:
        """Load the weights that a configuration names into a network, if it can begin with any.

        Raises:
            ConfigurationError: If the file is missing, damaged, or of another network.
        """
        if self.load_weights is not None:
            _find_function(self.load_weights)(model, config)


C = TypeVar("C", bound=type[Any])
_NETWORKS: dict[str, Network] = {}
_TAKES = get_args(Takes)


def register_network(
    *,
    title: str,
    description: str,
    kinds: tuple[Kind, ...],
    build: str | Callable[[Any], nn.Module],
    training: TrainingSuggestion,
    tasks: tuple[Task, ...] = TASKS,
    takes: Takes = "inputs",
    is_suggested: bool = False,
    largest_side: int | None = None,
    weights_side: int | None = None,
    load_weights: str | Callable[[nn.Module, Any], None] | None = None,
) -> Callable[[C], C]:
    """Register the decorated class of configurations as a built-in network.

    The class is a frozen dataclass with ``name``, ``num_outputs``, ``seed``, ``to_json`` and
    ``for_encoder``. The arguments are those of ``Network``.

    Returns:
        The decorator, which leaves the class as it is.

    Raises:
        ConfigurationError: If a kind, a task or what it takes is unknown, or another class has
            the name.
    """
    known_ones = {"kinds": (kinds, KINDS), "tasks": (tasks, TASKS), "takes": ((takes,), _TAKES)}
    for what, (found, known_names) in known_ones.items():
        if not found or not set(found) <= set(known_names):
            raise ConfigurationError(
                f"Found a network {title!r} with {what} = {found!r}, expected one or more of "
                f"{', '.join(known_names)}. Correct its registration."
            )

    def register(config: C) -> C:
        known = _NETWORKS.get(config.name)
        if known and known.config.__qualname__ != config.__qualname__:
            raise ConfigurationError(
                f"Found two networks called {config.name!r}: {known.config.__qualname__} and "
                f"{config.__qualname__}. Give the second one another name."
            )
        _NETWORKS[config.name] = Network(
            config=config,
            title=title,
            description=description,
            kinds=kinds,
            tasks=tasks,
            takes=takes,
            build=build,
            training=training,
            is_suggested=is_suggested,
            largest_side=largest_side,
            weights_side=weights_side,
            load_weights=load_weights,
        )
        return config

    return register


def list_networks(kind: Kind | None = None, task: Task | None = None) -> tuple[Network, ...]:
    """Return the built-in networks by kind, the suggested one of each before the others.

    Args:
        kind: Only those for such examples.
        task: Only those that predict this.
    """
    _load()
    found = [
        network
        for network in _NETWORKS.values()
        if (kind is None or kind in network.kinds) and (task is None or task in network.tasks)
    ]
    found.sort(key=lambda network: (not network.is_suggested, network.takes != "inputs"))
    if kind is None:
        found.sort(key=lambda network: KINDS.index(network.kinds[0]))
    return tuple(found)


def find_network(name: str) -> Network | None:
    """Return the built-in network of a name, or ``None`` if there is none."""
    _load()
    return _NETWORKS.get(name)


@cache
def _load() -> None:
    """Import every file that registers networks."""
    folder = import_module(_FOLDER)
    for module in sorted(each.name for each in iter_modules(folder.__path__)):
        import_module(f"{_FOLDER}.{module}")


def _find_function(place: str | Callable[..., Any]) -> Callable[..., Any]:
    if not isinstance(place, str):
        return place
    module, _, function = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


# From so many classes on, a hidden layer of 64 numbers holds too little to tell them apart; with
# many more the outputs are most of the network, so it grows no further.
MANY_CLASSES, WIDE, NARROW = 100, 256, 64


def choose_hidden(num_outputs: int) -> int:
    """Return the width of a hidden layer before so many outputs."""
    return WIDE if num_outputs >= MANY_CLASSES else NARROW


def require_at_least(config: Any, smallest: dict[str, int]) -> None:
    """Check that settings are not smaller than they can be.

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
