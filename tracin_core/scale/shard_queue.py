"""Which shards are waiting, under way and done, and how often each was lost with its worker."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Generic, NoReturn, TypeVar

from tracin_core.errors import ShardLostError
from tracin_core.scale.config import EngineReport

S = TypeVar("S")


class ShardQueue(Generic[S]):
    """Hands out shards in their order, and those that were lost again, first of all."""

    def __init__(self, shards: Sequence[S], finished: Collection[int], retries: int) -> None:
        """Prepare for some shards.

        Args:
            shards: All of them.
            finished: Places of those that are done already.
            retries: How often each may be lost and done again.
        """
        self.shards = shards
        self.total = len(shards)
        self._retries = retries
        self._losses: Counter[int] = Counter()
        self._finished = {index for index in finished if index < len(shards)}
        self._waiting = deque(index for index in range(len(shards)) if index not in self._finished)

    @property
    def is_done(self) -> bool:
        """Whether all shards are finished."""
        return len(self._finished) == self.total

    @property
    def unfinished(self) -> list[int]:
        """Return the places of the shards that are not finished."""
        return [index for index in range(self.total) if index not in self._finished]

    def take(self) -> int | None:
        """Return the place of the next shard to do, or None where none is waiting."""
        return self._waiting.popleft() if self._waiting else None

    def finish(self, index: int) -> None:
        """Take note that a shard is done."""
        self._finished.add(index)

    def put_back(self, under_way: Iterable[int], why: str) -> None:
        """Have the shards of a lost worker done again.

        Args:
            under_way: Their places, the one that was being done first.
            why: What became of the worker.

        Raises:
            ShardLostError: If the first was lost more often than it may be.
        """
        places = list(under_way)
        self._waiting.extendleft(reversed(places))
        if not places:
            return
        first = places[0]
        self._losses[first] += 1
        if self._losses[first] > self._retries:
            self.give_up(first, why)

    def give_up(self, index: int, why: str) -> NoReturn:
        """Say that a shard cannot be done.

        Raises:
            ShardLostError: Always.
        """
        raise ShardLostError(
            f"Shard {index + 1} of {self.total} was lost {self._retries + 1} times with the worker "
            f"that did it; the last one {why}. Expected a worker to live through it; mostly its "
            "memory runs out. Take fewer workers, or smaller batches; what is finished and written "
            "down is kept."
        )

    def report(self, workers: int, lost: int) -> EngineReport:
        """Return how far the engine is."""
        return EngineReport(workers=workers, done=len(self._finished), total=self.total, lost=lost)
