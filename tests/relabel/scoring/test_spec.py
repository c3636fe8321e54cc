"""Whatever decides a run's numbers decides its name: no other run is taken for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relabel.features.encoding import fit_encoder
from relabel.runs.config import ProjectionEntry, TargetScale
from relabel.scoring.spec import RunSpec, resolve_spec
from tests.relabel.scoring.small_runs import make_network, make_sources


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    network = make_network(tmp_path_factory.mktemp("training"))
    return resolve_spec(network, make_sources(network))


def list_others(settled: RunSpec) -> dict[str, RunSpec]:
    """What differs from a making in one thing that its numbers depend on."""
    network, entry = settled.network, settled.projection["all"]
    assert isinstance(entry, ProjectionEntry)
    checkpoints = settled.checkpoints
    edited = (replace(checkpoints[0], sha256="0" * 64), *checkpoints[1:])
    scale = TargetScale(mean=0.0, std=2.0)
    return {
        "rates": replace(settled, rates="recorded"),
        "code": replace(settled, code="another"),
        "weights": replace(settled, checkpoints=edited),
        "fewer checkpoints": replace(settled, checkpoints=checkpoints[1:]),
        "order of checkpoints": replace(settled, checkpoints=checkpoints[::-1]),
        "layers": replace(settled, projection={"last": settled.projection["last"]}),
        "exact": replace(settled, projection={**settled.projection, "all": None}),
        "seed": replace(
            settled, projection={**settled.projection, "all": replace(entry, seed=entry.seed + 1)}
        ),
        "encoder": replace(
            settled, network=replace(network, encoder=fit_encoder("text", ["other words"]))
        ),
        "network": replace(
            settled,
            network=replace(network, model_config=replace(network.model_config, hidden=7)),
        ),
        "scale": replace(settled, network=replace(network, target_scale=scale)),
        "another scale": replace(
            settled, network=replace(network, target_scale=replace(scale, mean=1.0))
        ),
    }


def test_each_thing_that_decides_the_numbers_changes_the_digests(settled: RunSpec):
    makings = {"itself": settled, **list_others(settled)}
    for digests in (
        {name: making.scoring_hash for name, making in makings.items()},
        {name: making.hash_with("data") for name, making in makings.items()},
    ):
        assert len(set(digests.values())) == len(makings), digests


def test_the_data_changes_the_runs_digest_alone(settled: RunSpec):
    assert settled.hash_with("data") != settled.hash_with("other data")
    again = resolve_spec(settled.network, make_sources(settled.network))
    assert again.scoring_hash == settled.scoring_hash
    assert again.hash_with("data") == settled.hash_with("data")
