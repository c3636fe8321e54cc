"""Influence by captum and dattri, and what they take where the whole train set takes too long.

Peers go over the train examples one batch after the other, so that their time is a fixed part, for
the test examples, and as much for each train example. Two small train sets tell both. Where the
time calculated for all of them is short, all are measured; else that time is given, and said to be
calculated.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.networks import LEARNING_RATE, Subject
from benchmarks.peers import CAPTUM_MODES, DATTRI, SAMPLE_WISE_BATCH, make_task, open_captum
from tracin_core import Checkpoint

Run = Callable[[], Tensor]
# What takes more seconds is not measured on the whole train set.
MOST_SECONDS = 20.0
# The smaller of two small train sets is this part of the whole; the other is twice as large.
PART = 4


@dataclass(frozen=True)
class Peer:
    """One way to compute influence with a peer.

    Attributes:
        name: As it stands in the tables.
        make: Returns what is timed, over so many of the first train examples.
    """

    name: str
    make: Callable[[int], Run]


@dataclass(frozen=True)
class Estimate:
    """What a peer takes, from two small train sets.

    Attributes:
        counts: How many train examples these had.
        seconds: What they took.
        scores: Influences from the larger of them.
    """

    counts: tuple[int, int]
    seconds: tuple[float, float]
    scores: Tensor

    @property
    def each(self) -> float:
        """Seconds for each further train example."""
        return max(0.0, self.seconds[1] - self.seconds[0]) / (self.counts[1] - self.counts[0])

    def calculate(self, count: int) -> float:
        """Return the seconds for so many train examples."""
        return self.seconds[1] + self.each * (count - self.counts[1])


def find_peers(
    model: nn.Module,
    checkpoints: list[Checkpoint],
    examples: TensorDataset,
    test: TensorDataset,
    subject: Subject,
    *,
    takes_dattri: bool,
) -> list[Peer]:
    """Return the peers that are installed, each with the batches with which it is fastest.

    Args:
        model: A copy for them alone.
        checkpoints: Its checkpoints.
        examples: All train examples.
        test: The test examples.
        subject: With the batch sizes.
        takes_dattri: Whether dattri is among them.
    """
    peers = []
    if importlib.util.find_spec("captum") is not None:
        sizes = (subject.captum_batch, min(SAMPLE_WISE_BATCH, subject.batch_size))
        for name, size, wise in zip(CAPTUM_MODES, sizes, (False, True), strict=True):

            def make(count: int, size: int = size, wise: bool = wise) -> Run:
                part = take(examples, count)
                tracin = open_captum(model, checkpoints, part, size, wise=wise)

                def run() -> Tensor:
                    scores: Tensor = tracin.influence(DataLoader(test, batch_size=size))
                    return scores.T

                return run

            peers.append(Peer(name, make))
    if takes_dattri and importlib.util.find_spec("dattri") is not None:
        peers.append(
            Peer(DATTRI, lambda count: make_dattri(model, checkpoints, take(examples, count), test))
        )
    return peers


def make_dattri(
    model: nn.Module, checkpoints: list[Checkpoint], examples: TensorDataset, test: TensorDataset
) -> Run:
    """Return dattri's TracIn with exact gradients.

    It computes the test gradients anew for each train batch, so there is one.
    """
    from dattri.algorithm.tracin import TracInAttributor

    rates = torch.full((len(checkpoints),), LEARNING_RATE)

    def run() -> Tensor:
        attributor = TracInAttributor(
            make_task(model, checkpoints), rates, normalized_grad=False, device="cpu"
        )
        # Its constructor takes None for "project to 512".
        attributor.projector_kwargs = None
        loaders = [DataLoader(examples, len(examples)), DataLoader(test, min(64, len(test)))]
        scores: Tensor = attributor.attribute(*loaders)
        return scores

    return run


def estimate(peer: Peer, count: int) -> Estimate:
    """Measure a peer once on each of two small train sets.

    Args:
        peer: The peer.
        count: Train examples in all.
    """
    first = max(2, count // PART)
    counts = (first, 2 * first)
    with be_quiet():
        seconds, scores = [], torch.zeros(())
        for number in counts:
            run = peer.make(number)
            start = time.process_time()
            scores = run()
            seconds.append(time.process_time() - start)
    return Estimate(counts, (seconds[0], seconds[1]), scores)


@contextlib.contextmanager
def be_quiet() -> Iterator[None]:
    """Keep progress bars and warnings out of the tables."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def take(examples: TensorDataset, count: int) -> TensorDataset:
    """Return the first examples."""
    return TensorDataset(*(tensor[:count] for tensor in examples.tensors))
