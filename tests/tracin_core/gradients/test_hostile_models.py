"""Networks that move their examples about: no score is another example's, and none ends oddly."""

from __future__ import annotations

import pytest
import torch

from benchmarks.evaluation import evaluate_as_trained
from benchmarks.hostile.cached import MIXING
from benchmarks.hostile.draw import Draw
from benchmarks.hostile.judge import judge
from benchmarks.hostile.kinds import KINDS
from benchmarks.hostile_models import make_table

COUNT = 13
# One of each kind; the benchmark itself goes on to 300, with batches of 1 to 64.
SEEDS = range(len(KINDS))
BATCHES = (4, 6)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_each_file_of_kinds_is_among_them() -> None:
    """Else nothing below is tried: a kind is registered when its file is imported."""
    files = {build.__module__.rpartition(".")[2] for _, build in KINDS.values()}
    assert files == {"cached", "orders", "paths", "ragged", "recurrent", "routed"}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name][0] != MIXING])
def test_an_example_gives_the_same_output_alone(name: str) -> None:
    """Else one example at a time would be no oracle for a batch."""
    for seed in range(6):
        torch.manual_seed(seed)
        subject = KINDS[name][1](Draw(seed, COUNT))
        evaluate_as_trained(subject.model)
        with torch.no_grad():
            alone = [subject.model(*(v[i : i + 1] for v in subject.inputs)) for i in range(COUNT)]
            for size in (4, COUNT):
                parts = [
                    subject.model(*(v[i : i + size] for v in subject.inputs))
                    for i in range(0, COUNT, size)
                ]
                torch.testing.assert_close(torch.cat(parts), torch.cat(alone))


def test_a_seed_makes_the_same_network_and_data() -> None:
    for build in (build for _, build in KINDS.values()):
        torch.manual_seed(3)
        one = build(Draw(3, COUNT))
        torch.manual_seed(3)
        two = build(Draw(3, COUNT))
        for left, right in zip(one.inputs, two.inputs, strict=True):
            assert torch.equal(left, right)
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, two.model.state_dict()[name])


def test_the_table_counts_every_ending() -> None:
    name = "chosen by where"
    verdicts = [judge(list(KINDS).index(name) + i * len(KINDS)) for i in range(2)]
    assert [verdict.ending for verdict in verdicts] == ["right", "right"]
    row = next(line for line in make_table(verdicts).splitlines() if name in line)
    assert row.startswith(f"| branches and early exits | {name} | 2 | 2 |")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_network_is_silently_wrong() -> None:
    verdicts = [judge(seed, batches=BATCHES) for seed in SEEDS]
    print(make_table(verdicts))
    assert {verdict.kind for verdict in verdicts} == set(KINDS)
    wrong = [v for v in verdicts if v.ending in ("wrong", "crashed")]
    assert not wrong, "\n".join(f"{v.seed} {v.kind}: {v.ending}, {v.detail}" for v in wrong)
