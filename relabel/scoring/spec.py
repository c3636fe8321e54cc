"""The specification of a run: settled before its first number, recorded, and followed ever after.

Imports torch; so do its callers, inside functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from relabel.fitting.data import ExampleSource, SplitSource, read_in_batches
from relabel.fitting.network import TrainedNetwork, list_checkpoints
from relabel.runs.config import CheckpointEntry, ProjectionEntry, Rates, hash_json
from relabel.runs.folder import RunFolder
from relabel.runs.scoring_version import mark_scoring_version
from relabel.scoring.estimate import PROJECTION, choose_last_projection
from relabel.text import LAYERS_OF, LayerChoice, Layers
from relabel.triage.signals import check_score_names
from tracin_core.attribution import DEFAULT_METHOD, AttributionSetup, Attributor, get_method
from tracin_core.errors import ConfigurationError
from tracin_core.gradients.plan import Coverage
from tracin_core.layers import find_parameters
from tracin_core.projection.config import Projection
from tracin_core.tracin import TracIn

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything but the data that decides a run's numbers.

    Attributes:
        network: The trained network.
        checkpoints: As the run lists them, with digests of their files.
        rates: Whether vectors carry the recorded learning rates or ones.
        projection: Of the vectors of each layers that are scored; None where they are exact.
        method: Name of the attribution method.
        method_configuration: Everything that decides its numbers beside the network.
        last_layer: Names of the last layer's modules, or of parameters that modules share.
        last_numbers: Numbers of an exact last-layer vector, over all checkpoints.
        code: Stands for the version of the program's numbers.
    """

    network: TrainedNetwork
    checkpoints: tuple[CheckpointEntry, ...]
    rates: Rates
    projection: Mapping[Layers, ProjectionEntry | None]
    last_layer: tuple[str, ...]
    last_numbers: int
    code: str
    method: str = DEFAULT_METHOD
    method_configuration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[Layers, ...]:
        """Return whose norms and vectors are computed."""
        return tuple(self.projection)

    def to_json(self) -> dict[str, Any]:
        """Return what its digests are made of."""
        values: dict[str, Any] = {
            "checkpoints": [entry.sha256 for entry in self.checkpoints],
            "model": self.network.model_config.to_json(),
            "encoder": self.network.encoder.to_json(),
            "rates": self.rates,
            "layers": list(self.layers),
            "last_layer": list(self.last_layer),
            "projection": {
                layers: None if entry is None else asdict(entry)
                for layers, entry in self.projection.items()
            },
            "code": self.code,
        }
        # The first method's configuration, rates and projection, has always stood above.
        if self.method != DEFAULT_METHOD:
            values["method"] = {self.method: dict(self.method_configuration)}
        if self.network.target_scale is not None:
            values["target_scale"] = asdict(self.network.target_scale)
        return values

    @property
    def scoring_hash(self) -> str:
        """Return the digest by which rows of another run may be reused."""
        return hash_json(self.to_json())

    def hash_with(self, data_hash: str) -> str:
        """Return the digest of the whole run."""
        return hash_json({"data": data_hash, **self.to_json()})


def count_trainable(model: nn.Module) -> int:
    """Return how many numbers of a network are trained."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def resolve_spec(
    network: TrainedNetwork,
    sources: Sequence[SplitSource],
    *,
    layers: LayerChoice = "both",
    rates: Rates = "ones",
    method: str = DEFAULT_METHOD,
    method_options: Mapping[str, Any] = NO_OPTIONS,
    device: str = "auto",
    exact_bytes: int | None = None,
) -> RunSpec:
    """Decide what a run is made of; one of the same examples and options is decided alike.

    Args:
        network: The trained network.
        sources: Examples of both splits.
        layers: Whose norms and vectors are to be computed.
        rates: Whether vectors carry the recorded learning rates or ones.
        method: Name of the attribution method.
        method_options: Its own options, by name.
        device: "auto", or a device as torch names it.
        exact_bytes: What exact last-layer vectors of all examples may take; None for the usual.

    Raises:
        ConfigurationError: If there is no such attribution method, or an option cannot work.
        GradientError: If the last layer's gradients cannot be computed.
        CheckpointError: If the last checkpoint cannot be loaded.
    """
    checkpoints = list_checkpoints(RunFolder(network.folder), network.checkpoints[-1:])
    tracin = TracIn(
        network.model,
        checkpoints,
        network.loss,
        layers="last",
        device=device,
        rates="ones",
        last_layer=network.last_layer or None,
        progress=False,
    )
    last = tracin.examine(take_first(sources))
    of_checkpoint = sum(last[name].size for name in last.covered)
    numbers = len(network.checkpoints) * of_checkpoint
    num_examples = sum(len(source.examples) for source in sources)
    # Of a head the last layer is all there is: nothing is computed and shown twice. Whoever brings
    # a network of their own gets what they ask for.
    if network.own_file is None and of_checkpoint == count_trainable(network.model):
        layers = "last"
    of_last = choose_last_projection(numbers, num_examples, exact_bytes)
    projection: dict[Layers, ProjectionEntry | None] = {
        name: of_last if name == "last" else PROJECTION for name in LAYERS_OF[layers]
    }
    attributor = make_attributor(method, tracin, rates, projection, method_options)
    configuration = _check_configuration(method, attributor.configuration)
    return RunSpec(
        network=network,
        checkpoints=network.hashed_checkpoints(),
        rates=rates,
        projection=projection,
        method=method,
        method_configuration=configuration,
        last_layer=name_parts(network.model, last.covered),
        last_numbers=numbers,
        code=mark_scoring_version(),
    )


def make_attributor(
    method: str,
    tracin: TracIn,
    rates: Rates,
    projection: Mapping[Layers, ProjectionEntry | None],
    options: Mapping[str, Any],
) -> Attributor:
    """Return an attribution method that computes with ``tracin``.

    Args:
        method: Its name.
        tracin: The engine.
        rates: Whether vectors carry the recorded learning rates or ones.
        projection: Of the vectors of each layers that are scored.
        options: The method's own, or its whole configuration.

    Raises:
        ConfigurationError: If there is no such method, or an option cannot work.
    """
    projections: dict[str, Projection | None] = {
        layers: as_projection(entry) for layers, entry in projection.items()
    }
    setup = AttributionSetup(tracin=tracin, rates=rates, projection=projections, options=options)
    entry = get_method(method)
    check_score_names(entry)
    return entry.make(setup)


def _check_configuration(method: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a method is configured by, if it can be recorded and read back.

    Raises:
        ConfigurationError: If it is no JSON.
    """
    try:
        plain = json.dumps(dict(configuration), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The configuration of the attribution method {method!r} is no JSON: {error}. Expected "
            "a dict of texts, finite numbers, lists and dicts. Mend the method."
        ) from error
    read: dict[str, Any] = json.loads(plain)
    return read


def as_projection(entry: ProjectionEntry | None) -> Projection | None:
    """Return what a run's record means to the engine; None for exact vectors."""
    return None if entry is None else Projection(dim=entry.dim, seed=entry.seed)


def take_first(sources: Sequence[SplitSource]) -> Any:
    """Return the first train examples, on which is decided how gradients are computed."""
    return take_first_of(find_train(sources))


def find_train(sources: Sequence[SplitSource]) -> ExampleSource:
    """Return the train examples of both splits."""
    return next(source for source in sources if source.split == "train").examples


def take_first_of(train: ExampleSource) -> Any:
    """Return the first of some train examples, as ``take_first`` does."""
    return read_in_batches(train, np.arange(min(3, len(train))), 3)


def name_parts(model: nn.Module, parameters: Sequence[str]) -> tuple[str, ...]:
    """Return names that choose exactly these parameters: of modules that hold no others.

    Args:
        model: The network.
        parameters: Names of trainable parameters.
    """
    chosen, names = set(parameters), []
    for parameter in parameters:
        module = parameter.partition(".parametrizations.")[0]
        module = module if module != parameter else parameter.rpartition(".")[0]
        whole = chosen.issuperset(find_parameters(model, [module]))
        names.append(module if whole else parameter)
    return tuple(dict.fromkeys(names))


def name_layers(coverage: Coverage) -> tuple[str, ...]:
    """Return the modules that hold the covered parameters, in order, each once."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in coverage.covered))
