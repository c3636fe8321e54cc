"""Several people review one queue at once over HTTP, while the server is killed under them.

Run: python -m benchmarks.team_review [--reviewers 8] [--decisions 2000] [--kills 2]

Each reviewer is a client of its own that does what the review's screen does: it asks for suspects,
decides about one after the other, and sends again, with the same token, what it heard no answer to.
The server is ended with SIGKILL and started anew. Printed are counts, for SQLite and PostgreSQL:
every decision must have been acknowledged once and be in the database once, on the example that the
client was shown; no example may ever lie before two people at once; and the agreement of the second
opinions must be what a calculation from the clients' own notes gives.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from sqlalchemy import select

from relabel.db.engine import open_database, reading
from relabel.db.examples import NewExample, add_examples
from relabel.db.projects import create_project, get_project
from relabel.db.registration import register_run
from relabel.db.runs import current_run
from relabel.db.schema import DecisionRow, ExampleRow, OpinionRow
from relabel.db.team.opinions import list_pairs
from relabel.db.team.reviewers import Identity
from relabel.db.team.second_looks import set_share
from relabel.team.agreement import measure_agreement
from relabel.workspace import REPOSITORY_ROOT, Workspace
from scripts.serving import Server, ServerProcess

SLUG = "shared"
CLASSES = ("bridge", "harbour", "meadow", "street")
SHARE = 0.15  # of the examples that two people answer
AHEAD = 6  # suspects that a client asks for at once
PATIENCE = 20.0  # seconds until an answer is given up
PAUSE = 0.2  # seconds between two attempts at a server that does not answer
Launch = Callable[[Sequence[str], Mapping[str, str], IO[bytes]], ServerProcess]


@dataclass
class Notes:
    """What the clients have seen and heard, all together.

    Attributes:
        acknowledged: Token to example, action, reviewer and whether it was a second answer.
        twice: Tokens that were acknowledged a second time with another version.
        collisions: Examples that were handed to somebody while they lay before another person.
        refused: What the server said of presses that it did not record.
        resent: Presses that were sent again as no answer came.
    """

    acknowledged: dict[str, tuple[int, str, str, bool]] = field(default_factory=dict)
    twice: int = 0
    collisions: int = 0
    refused: list[str] = field(default_factory=list)
    resent: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    _before: dict[int, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hand(self, example_id: int, reviewer: str) -> None:
        """Note that an example lies before somebody."""
        with self._lock:
            other = self._before.setdefault(example_id, reviewer)
            self.collisions += other != reviewer

    def answer(self, token: str, press: tuple[int, str, str, bool], outcome: Any) -> None:
        """Note what became of a press."""
        with self._lock:
            self._before.pop(press[0], None)
            if not outcome["recorded"]:
                self.refused.append(outcome["message"])
            elif token in self.acknowledged:
                self.twice += 1
            else:
                self.acknowledged[token] = press

    def count(self) -> int:
        """Return how many presses were acknowledged so far."""
        with self._lock:
            return len(self.acknowledged)


def build_project(workspace: Workspace, count: int) -> None:
    """Make a project of texts with a ranking, of which some are to be answered twice."""
    workspace.prepare()
    engine = open_database(workspace.database_url)
    random = np.random.default_rng(0)
    labels = random.integers(0, len(CLASSES), count)
    project = create_project(engine, slug=SLUG, title="Shared", kind="text", classes=list(CLASSES))
    add_examples(
        engine,
        project.id,
        [
            NewExample(f"text-{number}", "train", number, int(label), text=f"Text {number}.")
            for number, label in enumerate(labels)
        ],
    )
    register_run(
        engine,
        project.id,
        key="made-up",
        folder="runs/made-up",
        config={"layers": {"all": ["head"], "last": ["head"]}},
        checkpoints=[],
        scores={"self_influence": random.lognormal(0, 1.5, count)},
        predictions={"train": (labels, np.full(count, 0.5), np.full(count, 0.5))},
    )
    set_share(engine, project.id, SHARE, by=Identity("benchmark", "account"))
    engine.dispose()


class Client:
    """One reviewer with a screen."""

    def __init__(self, port: int, name: str, query: dict[str, Any], notes: Notes) -> None:
        self.name = name
        self._port = port
        self._about = {"project": SLUG, "query": query, "reviewer": name, "screen": uuid4().hex}
        self._notes = notes

    def review(self, wanted: int) -> None:
        """Decide until so many presses of all clients together were acknowledged."""
        while self._notes.count() < wanted:
            answer = self._ask("/suspects", {"count": AHEAD})
            sheets = answer["suspects"]
            for sheet in sheets:
                self._notes.hand(sheet["id"], self.name)
            for sheet in sheets:
                self._decide(sheet)
            if not sheets:
                time.sleep(PAUSE)  # others have what is left

    def _decide(self, sheet: dict[str, Any]) -> None:
        action = choose_action(self.name, sheet["id"])
        token = uuid4().hex
        about = {name: sheet[name] for name in ("version", "mark", "rank", "score", "run", "look")}
        press = {"token": token, "example": sheet["id"], "action": action, "reviewer": self.name}
        answer = self._ask("/decisions", {"presses": [press | about]})
        told = (sheet["id"], action, self.name, sheet["look"] is not None)
        self._notes.answer(token, told, answer["outcomes"][0])

    def _ask(self, path: str, more: dict[str, Any]) -> Any:
        """Return the answer, asked for as often as it takes."""
        body = json.dumps(self._about | more)
        attempts = 0
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    self._notes.resent += attempts if path == "/decisions" else 0
                    return json.loads(content)
                self._notes.faults[f"{response.status} {content[:200]!r}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self._notes.faults[type(error).__name__] += 1
            finally:
                connection.close()
            attempts += 1
            time.sleep(PAUSE)


def choose_action(name: str, example_id: int) -> str:
    """Return what a reviewer thinks of an example: mostly the same as the others."""
    opinion = sha256(f"{name} {example_id}".encode()).digest()[0]
    truth = "exclude" if example_id % 3 == 0 else "keep"
    return "ambiguous" if opinion < 40 else truth


def review_together(
    workspace: Workspace,
    *,
    reviewers: int,
    decisions: int,
    kills: int,
    launch: Launch | None = None,
) -> dict[str, Any]:
    """Let clients review while the server is killed, and return the counts.

    Args:
        workspace: An empty one, whose database may be of either kind.
        reviewers: Clients at once.
        decisions: Presses that are acknowledged at least.
        kills: How often the server is ended with SIGKILL, evenly over the decisions.
        launch: Starts the server; None for a process as a person starts it.
    """
    # More than can be decided, so that nobody runs out of suspects.
    build_project(workspace, decisions + AHEAD * reviewers)
    server = Server(workspace.root, launch=launch or _launching(workspace.database_url))
    notes = Notes()
    started = time.monotonic()
    try:
        server.start()
        query = _read_query(workspace)
        clients = [
            Client(server.port, f"Reviewer {number}", query, notes)
            for number in range(1, reviewers + 1)
        ]
        with ThreadPoolExecutor(reviewers) as pool:
            work = [pool.submit(client.review, decisions) for client in clients]
            for kill in range(1, kills + 1):
                while notes.count() < decisions * kill // (kills + 1):
                    if any(one.done() for one in work):
                        break
                    time.sleep(0.05)
                server.kill()
                server.start()
            for one in work:
                one.result()
    finally:
        server.stop()
    seconds = time.monotonic() - started
    return compare(workspace, notes) | {"seconds": round(seconds), "kills": kills}


def _launching(database_url: str) -> Launch:
    def launch(
        words: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> ServerProcess:
        return subprocess.Popen(
            [*words, "--database", database_url],
            cwd=REPOSITORY_ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )

    return launch


def _read_query(workspace: Workspace) -> dict[str, Any]:
    engine = open_database(workspace.database_url)
    try:
        run = current_run(engine, get_project(engine, SLUG).id)
        assert run is not None
        return {
            "run": run.id,
            "signal": "self_influence",
            "given": [],
            "predicted": [],
            "disagrees": False,
            "text": "",
            "layers": "all",
            "measure": "cosine",
        }
    finally:
        engine.dispose()


def compare(workspace: Workspace, notes: Notes) -> dict[str, Any]:
    """Return what the database says beside what the clients have noted."""
    engine = open_database(workspace.database_url)
    try:
        project = get_project(engine, SLUG)
        with reading(engine) as connection:
            first = connection.execute(
                select(DecisionRow.token, DecisionRow.example_id, DecisionRow.action)
            ).all()
            second = connection.execute(
                select(OpinionRow.token, OpinionRow.example_id, OpinionRow.action)
            ).all()
            labels = connection.execute(select(ExampleRow.id, ExampleRow.given_label)).all()
        given = {row.id: row.given_label for row in labels}
        found = measure_agreement(project, list_pairs(engine, project.id))
    finally:
        engine.dispose()
    stored = {row.token: (row.example_id, row.action) for row in [*first, *second]}
    told = {token: press[:2] for token, press in notes.acknowledged.items()}
    by_hand = calculate_by_hand(notes, given)
    measured = {"all": found.kappa} | {(one.first, one.second): one.kappa for one in found.pairs}
    return {
        "acknowledged": len(told),
        "recorded": len(first) + len(second),
        "acknowledged twice": notes.twice,
        "as shown": sum(stored.get(token) == press for token, press in told.items()),
        "lost": len(set(told) - set(stored)),
        "recorded, not acknowledged": len(set(stored) - set(told)),
        "decided twice": len(first) - len({row.example_id for row in first}),
        "before two people at once": notes.collisions,
        "refused": len(notes.refused),
        "sent again": notes.resent,
        "second opinions": len(second),
        "pairs of people": len(found.pairs),
        "kappa": found.kappa,
        "agreement as by hand": is_same(measured, by_hand),
        "why refused": notes.refused[:3],
        "faults": dict(notes.faults),
    }


def calculate_by_hand(notes: Notes, given: Mapping[int, int]) -> dict[Any, float | None]:
    """Return the kappas from what the clients have noted, without the program's own code.

    Args:
        notes: Of the clients.
        given: The label of each example, which "keep" keeps.
    """
    answers: dict[int, dict[bool, tuple[str, str]]] = defaultdict(dict)
    for example_id, action, name, is_second in notes.acknowledged.values():
        answer = f"label {given[example_id]}" if action == "keep" else action
        answers[example_id][is_second] = (name, answer)
    pairs = [(one[False], one[True]) for one in answers.values() if len(one) == 2]
    by_people: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for one in pairs:
        first, second = sorted(one)
        by_people[first[0], second[0]].append((first[1], second[1]))
    kappas: dict[Any, float | None] = {"all": None}
    shares = [Counter(answer for one in pairs for _, answer in one)]
    if pairs:
        same = sum(first[1] == second[1] for first, second in pairs) / len(pairs)
        chance = sum((count / (2 * len(pairs))) ** 2 for count in shares[0].values())
        kappas["all"] = _beyond(same, chance)
    for people, both in by_people.items():
        same = sum(one == other for one, other in both) / len(both)
        left, right = (Counter(one[side] for one in both) for side in (0, 1))
        chance = sum(left[name] * right[name] for name in left) / len(both) ** 2
        kappas[people] = _beyond(same, chance)
    return kappas


def _beyond(same: float, chance: float) -> float | None:
    return None if chance == 1 else (same - chance) / (1 - chance)


def is_same(measured: Mapping[Any, float | None], by_hand: Mapping[Any, float | None]) -> bool:
    """Return whether two calculations of the same kappas differ by rounding alone."""
    if set(measured) != set(by_hand):
        return False
    both = [(measured[key], by_hand[key]) for key in measured]
    return all(
        one is other is None or (one is not None and other is not None and abs(one - other) < 1e-9)
        for one, other in both
    )


@contextmanager
def open_databases(root: Path) -> Iterator[dict[str, str]]:
    """Give the URLs of a database of each kind that there is here."""
    urls = {"SQLite": f"sqlite:///{root / 'sqlite' / 'tracin.db'}"}
    try:
        with warnings.catch_warnings():
            # It asks for a runtime folder that a container does not have.
            warnings.simplefilter("ignore")
            import pgserver
    except ImportError:
        print("PostgreSQL is left out: pgserver is not installed.")
        yield urls
        return
    # The path of its socket must be short, and the server runs as another user when we are root.
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(folder)
        try:
            server.psql("CREATE DATABASE team")
            yield urls | {"PostgreSQL": server.get_uri("team")}
        finally:
            server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reviewers", type=int, default=8, metavar="N")
    parser.add_argument("--decisions", type=int, default=2000, metavar="N")
    parser.add_argument("--kills", type=int, default=2, metavar="N")
    options = parser.parse_args()
    print(
        f"{options.reviewers} reviewers, {options.decisions:,} decisions, {os.cpu_count()} "
        f"processors, load {os.getloadavg()[0]:.0f}.\n"
    )
    found = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        with open_databases(root) as urls:
            for kind, url in urls.items():
                workspace = Workspace(root=root / kind.lower(), database_url=url)
                found[kind] = review_together(
                    workspace,
                    reviewers=options.reviewers,
                    decisions=options.decisions,
                    kills=options.kills,
                )
    print(f"| | {' | '.join(found)} |\n|---|{'--:|' * len(found)}")
    for name in next(iter(found.values())):
        cells = [_say(counts[name]) for counts in found.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def _say(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
