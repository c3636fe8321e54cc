"""The corrections that tell most, with the examples that spoke for and against the given label."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, and_, select

from relabel.db.decisions.kinds import list_codes
from relabel.db.engine import reading
from relabel.db.examples import ExampleView, find_by_positions
from relabel.db.project_rules import Project
from relabel.db.runs import Run
from relabel.db.schema import DecisionRow, ExampleRow, ReviewerRow, ScoreRow, effective
from relabel.features.shown import encode_for_screen
from relabel.text import excerpt, format_number
from relabel.triage.evidence import Evidence, Neighbour, open_evidence
from relabel.triage.signals import choose_default_signal
from relabel.workspace import Workspace
from tracin_core.errors import TracInError

# How many are told, of how many that were looked at, and how many of one pair of labels at most.
TOLD, LOOKED_AT, OF_A_PAIR = 5, 60, 2
# Opponents that are asked for their label, and those of each side that are shown.
ASKED, SHOWN = 10, 3
LONGEST_TEXT, LONGEST_NEIGHBOUR = 320, 120  # characters
FIELDS = 8  # of a table's row
EDGE, NEIGHBOUR_EDGE = 224, 112  # pixels


@dataclass(frozen=True, kw_only=True)
class Content:
    """What an example is, as a page shows it.

    Attributes:
        picture: As an address that holds the picture itself; empty for others.
        text: An excerpt; empty for others.
        fields: Names and cells of a row; empty for others.
    """

    picture: str = ""
    text: str = ""
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A train example that spoke for or against the given answer."""

    content: Content
    answer: str


@dataclass(frozen=True, kw_only=True)
class TellingCorrection:
    """One correction.

    Attributes:
        key: Of the example.
        content: What it is.
        given: Answer of the data, for people.
        corrected: Answer that was decided.
        reviewer: Who decided.
        note: What they wrote.
        rank: Among the suspects.
        proponents: Examples that pulled the model towards the given answer.
        opponents: Examples that pulled it away.
        votes: Of the opponents that were asked, those with the corrected label; None for numbers.
        asked: Opponents that were asked.
        is_suggested: Whether models that had not seen the example suggested the corrected label.
    """

    key: str
    content: Content
    given: str
    corrected: str
    reviewer: str
    note: str
    rank: int | None
    proponents: tuple[Voice, ...]
    opponents: tuple[Voice, ...]
    votes: int | None
    asked: int
    is_suggested: bool


@dataclass(frozen=True)
class _Found:
    position: int
    reviewer: str
    note: str
    rank: int | None


def choose_telling(
    engine: Engine, workspace: Workspace, project: Project, run: Run | None
) -> tuple[list[TellingCorrection], str]:
    """Return the most telling corrections of train examples, and why they lack evidence.

    Those whose opponents carry the corrected label come first, then the most suspect; of one pair
    of labels there are two at most.
    """
    found = _list_corrected(engine, project, run)
    if not found:
        return [], ""
    run_id = None if run is None else run.id
    views = find_by_positions(engine, project.id, run_id, "train", (one.position for one in found))
    evidence, fault = _open(workspace, project, run)
    sides: dict[str, list[list[Neighbour]]] = {}
    if evidence is not None:
        try:
            positions = [one.position for one in found]
            for side in ("opponents", "proponents"):
                sides[side] = evidence.neighbours_of_many(
                    "train",
                    positions,
                    side=side,
                    k=ASKED,
                    measure="cosine",
                )
        except TracInError as error:
            sides, fault = {}, str(error)
    votes = _count_votes(engine, project, views, sides.get("opponents", []))
    chosen = _choose(project, found, views, votes)
    show = _Shower(engine, workspace, project)
    told = [
        _tell(project, found[i], views[i], votes[i], {s: sides[s][i] for s in sides}, show)
        for i in chosen
    ]
    return told, fault


def _list_corrected(engine: Engine, project: Project, run: Run | None) -> list[_Found]:
    """Return the most suspect of the train examples that were corrected."""
    is_ranked: ColumnElement[bool] = ScoreRow.example_id == effective.c.example_id
    if run is not None and run.signals:
        is_ranked = and_(
            is_ranked,
            ScoreRow.scoring_id == run.scoring_id,
            ScoreRow.signal == choose_default_signal(run.signals),
        )
    else:
        is_ranked = and_(is_ranked, ScoreRow.scoring_id == -1)
    query = (
        select(ExampleRow.position, ReviewerRow.name, DecisionRow.note, ScoreRow.rank)
        .select_from(effective)
        .join(ExampleRow, ExampleRow.id == effective.c.example_id)
        .join(DecisionRow, DecisionRow.id == effective.c.id)
        .join(ReviewerRow, ReviewerRow.id == effective.c.reviewer_id)
        .join(ScoreRow, is_ranked, isouter=True)
        .where(
            effective.c.project_id == project.id,
            effective.c.action.in_(list_codes("correct")),
            ExampleRow.split == "train",
        )
        .order_by(ScoreRow.rank.is_(None), ScoreRow.rank, ExampleRow.position)
        .limit(LOOKED_AT)
    )
    with reading(engine) as connection:
        return [_Found(*row) for row in connection.execute(query)]


def _open(workspace: Workspace, project: Project, run: Run | None) -> tuple[Evidence | None, str]:
    if run is None:
        return None, ""
    try:
        return open_evidence(workspace.project_folder(project.slug) / run.folder), ""
    except TracInError as error:
        return None, str(error)


def _count_votes(
    engine: Engine,
    project: Project,
    views: Sequence[ExampleView],
    opponents: Sequence[Sequence[Neighbour]],
) -> list[tuple[int, int] | None]:
    """Return how many opponents have the corrected label, of how many; None where none says."""
    if project.task == "regression" or not opponents:
        return [None] * len(views)
    asked = sorted({one.position for each in opponents for one in each})
    known = find_by_positions(engine, project.id, None, "train", asked)
    labels = {view.position: view.current_label for view in known}
    return [
        (sum(labels[one.position] == view.current_label for one in each), len(each))
        for view, each in zip(views, opponents, strict=True)
    ]


def _choose(
    project: Project,
    found: Sequence[_Found],
    views: Sequence[ExampleView],
    votes: Sequence[tuple[int, int] | None],
) -> list[int]:
    """Return which ones are told, the most telling first."""

    def weigh(place: int) -> tuple[float, int]:
        vote = votes[place]
        told = 0.0 if vote is None or not vote[1] else vote[0] / vote[1]
        view = views[place]
        agreed = view.suggested_label is not None and view.suggested_label == view.current_label
        return (-(told + 0.5 * agreed), found[place].rank or 10**9)

    pairs: Counter[tuple[int, int]] = Counter()
    chosen = []
    for place in sorted(range(len(found)), key=weigh):
        pair = (views[place].given_label, views[place].current_label)
        if project.task != "regression" and pairs[pair] >= OF_A_PAIR:
            continue
        pairs[pair] += 1
        chosen.append(place)
        if len(chosen) == TOLD:
            break
    return chosen


class _Shower:
    """Makes of examples what a page shows."""

    def __init__(self, engine: Engine, workspace: Workspace, project: Project) -> None:
        self._engine, self._project = engine, project
        self._root = workspace.media_folder(project.slug).resolve()

    def show(self, view: ExampleView, edge: int, length: int) -> Content:
        if view.text is not None:
            return Content(text=excerpt(view.text, length))
        if view.fields is not None:
            cells = list(view.fields.items())[:FIELDS]
            return Content(fields=tuple((excerpt(n), _format_cell(cell)) for n, cell in cells))
        return Content(picture=self._embed(view.media_path, edge))

    def show_voices(self, voices: Iterable[Neighbour]) -> tuple[Voice, ...]:
        positions = [one.position for one in voices][:SHOWN]
        views = find_by_positions(self._engine, self._project.id, None, "train", positions)
        return tuple(
            Voice(
                content=self.show(view, NEIGHBOUR_EDGE, LONGEST_NEIGHBOUR),
                answer=self.name_voice(view),
            )
            for view in views
        )

    def name_answer(self, view: ExampleView, *, given: bool) -> str:
        if self._project.task == "regression":
            return format_number(view.given_value if given else view.current_value)
        return str(self._project.classes[view.given_label if given else view.current_label])

    def name_voice(self, view: ExampleView) -> str:
        """Return the answer that the model learned, and what it was corrected to."""
        given, now = (self.name_answer(view, given=each) for each in (True, False))
        return given if given == now else f"{given}, corrected to {now}"

    def _embed(self, media_path: str | None, edge: int) -> str:
        """Return a small picture as an address that holds it; nothing where it cannot be read."""
        path = (self._root / (media_path or "")).resolve()
        if not path.is_relative_to(self._root) or not path.is_file():
            return ""
        try:
            made = encode_for_screen(path.read_bytes(), edge)
        except (TracInError, OSError):
            return ""  # the page says that there is no picture
        return f"data:{made.media_type};base64,{base64.b64encode(made.content).decode()}"


def _format_cell(cell: float | str | None) -> str:
    if cell is None:
        return "–"
    return excerpt(cell, 40) if isinstance(cell, str) else format_number(cell)


def _tell(
    project: Project,
    found: _Found,
    view: ExampleView,
    vote: tuple[int, int] | None,
    sides: dict[str, list[Neighbour]],
    show: _Shower,
) -> TellingCorrection:
    is_regression = project.task == "regression"
    return TellingCorrection(
        key=excerpt(view.key),
        content=show.show(view, EDGE, LONGEST_TEXT),
        given=show.name_answer(view, given=True),
        corrected=show.name_answer(view, given=False),
        reviewer=excerpt(found.reviewer),
        note=excerpt(found.note, 200),
        rank=found.rank,
        proponents=show.show_voices(sides.get("proponents", [])),
        opponents=show.show_voices(sides.get("opponents", [])),
        votes=None if vote is None else vote[0],
        asked=0 if vote is None else vote[1],
        is_suggested=not is_regression
        and view.suggested_label is not None
        and view.suggested_label == view.current_label,
    )
