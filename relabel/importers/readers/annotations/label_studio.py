"""Exports of Label Studio: tasks with annotations (JSON), or a flat object for each (JSON-MIN).

A column for each key of the tasks' data, and one for each control whose results are answers about
the whole example: choices, numbers and ratings. Marked passages, boxes and the like are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from relabel.importers.columns.column_names import LABEL_NAMES, normalise
from relabel.importers.columns.values import RefusedError
from relabel.importers.files.served import find_served, names_picture
from relabel.importers.options import ImportOptions, join_names
from relabel.importers.readers.annotations.tasks import (
    ANSWERS,
    Answer,
    choose_answer,
    list_annotations,
    list_results,
)
from relabel.importers.readers.json_lines import JsonLinesReader, JsonPath, look_up, peek_objects
from relabel.importers.records import Problem, Row, check_column_names, row_problem
from relabel.text import counted
from tracin_core.errors import InputError
from tracin_core.files import expand_path

# Beside an answer these say nothing that is to be checked.
_REMARKS = ("textarea", "relation")
# What JSON-MIN writes of an annotation, behind its answers.
_ABOUT = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
# What our own export has in a task: the example's key, and the answer that it was imported with.
OWN_KEY = "ref_id"
OWN_ANSWERS = {"label": "given_label", "target": "given_value"}
_OWN_PLACE = "source_place"
_OWN = (OWN_KEY, *OWN_ANSWERS.values(), _OWN_PLACE, "split", "version", "text", "image")
_WAYS = ("ground truth", "agreed", "majority", "newest")


@dataclass
class _Survey:
    """What the tasks of a file hold, and in how many."""

    data: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    controls: dict[str, str] = field(default_factory=dict)
    shown: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    num_tasks: int = 0
    num_predicted: int = 0
    num_cancelled: int = 0

    def add(self, task: Mapping[str, Any]) -> None:
        """Look at one more task."""
        self.num_tasks += 1
        self.num_predicted += bool(task.get("predictions"))
        data = task["data"] if isinstance(task.get("data"), dict) else {}
        self.add_data(data)
        for _, annotation in list_annotations(task):
            self.num_cancelled += bool(annotation.get("was_cancelled"))
            for _, one, control in list_results(annotation):
                kind = str(one.get("type"))
                if kind in ANSWERS:
                    self.controls.setdefault(control, kind)
                    source = str(one.get("source") or "").removeprefix("$")
                    self.shown[source or str(one.get("to_name"))] += 1
                elif kind not in _REMARKS:
                    self.others[kind] += 1

    def add_flat(self, found: Mapping[str, Any]) -> None:
        """Look at one more object of JSON-MIN: the data, the task's number, the answers."""
        names = list(found)
        place = names.index("id") if "id" in found else len(names)
        self.num_tasks += 1
        self.add_data({name: found[name] for name in names[:place]})
        for name in names[place + 1 :]:
            value = found[name]
            if name in _ABOUT or value is None:
                continue
            if isinstance(value, list) and any(isinstance(one, dict) for one in value):
                self.others[name] += 1
            else:
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                self.controls.setdefault(name, "number" if is_number else "choices")

    def add_data(self, data: Mapping[str, Any]) -> None:
        """Look at what a task shows."""
        self.data.update(data.keys())
        self.pictures.update(key for key, value in data.items() if names_picture(value))


def is_label_studio(path: Path) -> bool:
    """Return whether a file begins with tasks of Label Studio, or with their flat form."""
    first = peek_objects(path)
    return bool(first) and all(_is_task(one) or _is_flat(one) for one in first)


def _is_task(found: Mapping[str, Any]) -> bool:
    return isinstance(found.get("data"), dict) and isinstance(found.get("annotations"), list)


def _is_flat(found: Mapping[str, Any]) -> bool:
    return {"id", "annotation_id", "annotator"} <= found.keys()


class LabelStudioReader(JsonLinesReader):
    """Rows of an export of Label Studio, one a task, or of JSON-MIN one an annotation.

    Attributes:
        controls: Type of the results of each column of answers, by its name.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.controls: dict[str, str] = {}
        self._is_flat = False
        self._pictures: set[str] = set()
        self._roles: dict[str, str] = {}
        self._said = options.label or options.target
        self._given: JsonPath = ()
        self._root = expand_path(options.image_root) if options.image_root else None
        super().__init__(path, options)
        self.schema = replace(self.schema, roles=self._roles)

    @property
    def answers(self) -> str | None:
        """Return the column of the answers that are to be checked."""
        return self._said or self._roles.get("label") or self._roles.get("target")

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the tasks; one without an answer that holds is a problem."""
        for number, found in self._parse():
            if isinstance(found, Problem):
                yield found
                continue
            try:
                yield Row(number, [self._read_cell(found, name) for name in columns])
            except RefusedError as refused:
                yield row_problem(number, str(refused), refused.what)

    def find_path(self, found: Mapping[str, Any], column: str) -> JsonPath | None:
        """Return where a task holds a column; None where it has no answer."""
        try:
            return self._find(found, column).path
        except RefusedError:
            return None

    def explain_unwritable(self, found: Mapping[str, Any], column: str) -> str:
        """Return why another answer cannot be written into a task, "" where it can be."""
        if self._find(found, column).how in ("only", "ground truth"):
            return ""
        return (
            "several people have annotated it, and its label is what most of them, or the newest, "
            "say; what one of them said cannot be changed in their name. --format label-studio "
            "writes tasks with the decisions as annotations."
        )

    def _read_cell(self, found: Mapping[str, Any], column: str) -> Any:
        try:
            cell = look_up(found, self._find(found, column).path)
        except RefusedError:
            if column == self.answers:
                raise
            return None
        if column in self._pictures and isinstance(cell, str):
            return find_served(self._root or self.folder, cell)
        return cell

    def _find(self, found: Mapping[str, Any], column: str) -> Answer:
        """Return where an object holds a column.

        Raises:
            RefusedError: If it is a column of answers, and there is none.
        """
        if column not in self.controls:
            return Answer(self.paths[column])
        if self._is_flat:
            # Several choices of one control stand inside of an object.
            inside = isinstance(inner := found.get(column), dict) and "choices" in inner
            return Answer((column, "choices") if inside else (column,))
        is_given = column == self.answers and look_up(found, self._given or ("",)) is not None
        try:
            answer = choose_answer(found, column, self.controls[column])
        except RefusedError:
            if not is_given:
                raise
            answer = None
        if answer is None and not is_given:
            more = " (predictions of models are not read)" if found.get("predictions") else ""
            raise RefusedError(
                "no label",
                f"No annotation answers {column!r}{more}. Label the task, or leave it out.",
            )
        return answer or Answer(self._given)

    def _find_columns(self, notes: list[str]) -> dict[str, JsonPath]:
        survey = _Survey()
        for _, found in self._parse():
            if isinstance(found, Problem):
                continue
            self._is_flat = self._is_flat or (not survey.num_tasks and not _is_task(found))
            (survey.add_flat if self._is_flat else survey.add)(found)
        self._check_answers(survey)
        self.controls = survey.controls
        names = {key: f"task.{key}" if key in self.controls else key for key in survey.data}
        self._pictures = {name for key, name in names.items() if survey.pictures[key]}
        outer = () if self._is_flat else ("data",)
        paths: dict[str, JsonPath] = {name: (*outer, key) for key, name in names.items()}
        paths |= dict.fromkeys(self.controls, ())
        paths.setdefault("id", ("id",))
        check_column_names(list(paths), self.path)
        self._find_roles(survey, names)
        notes += _describe(survey)
        notes += self._describe_choice()
        return paths

    def _check_answers(self, survey: _Survey) -> None:
        """Check that something is said of whole examples.

        Raises:
            InputError: If not.
        """
        if survey.controls or _is_own(survey):
            return
        if survey.others:
            kinds = ", ".join(f"{kind} ({number:,})" for kind, number in survey.others.items())
            raise InputError(
                f"{self.path} is an export of Label Studio whose annotations mark parts of the "
                f"examples: {kinds}. Expected choices, a number or a rating: one label for each "
                "example is checked here, no passages, boxes or outlines. Classify the examples "
                "with <Choices>, or cut the parts out and import them as examples of their own."
            )
        aside = ", and predictions of models are not read" if survey.num_predicted else ""
        raise InputError(
            f"{self.path} is an export of Label Studio with {counted(survey.num_tasks, 'task')}, "
            f"but without an answer. Expected annotations with choices{aside}. Label the tasks, "
            "and export them as JSON again."
        )

    def _find_roles(self, survey: _Survey, names: Mapping[str, str]) -> None:
        """Find what the answers are about, and which column of answers is meant."""
        shown = next((names[one] for one, _ in survey.shown.most_common() if one in names), None)
        content = shown or (next(iter(names.values())) if len(names) == 1 else None)
        if content is not None:
            self._roles["image" if content in self._pictures else "text"] = content
        is_own = _is_own(survey)
        if is_own:
            self._roles["key"] = names[OWN_KEY]
        for role, given in OWN_ANSWERS.items():
            kinds = ("choices",) if role == "label" else ("number", "rating")
            chosen = _choose_column([n for n, kind in self.controls.items() if kind in kinds])
            if is_own and given in names:
                self._given = ("data", given)
                chosen = chosen or names[given]
            if chosen is not None:
                self._roles[role] = chosen
                return

    def _describe_choice(self) -> list[str]:
        """Report which annotations hold, and which tasks have their label from elsewhere."""
        column, ways = self.answers, Counter[str]()
        if self._is_flat or column not in self.controls:
            return []
        for _, found in self._parse():
            if not isinstance(found, Problem) and self.find_path(found, column) is not None:
                answer = self._find(found, column)
                ways["given" if answer.path == self._given else answer.how] += 1
        notes = []
        if several := sum(ways[how] for how in _WAYS):
            parts = ", ".join(f"{how} ({ways[how]:,})" for how in _WAYS if ways[how])
            notes.append(
                f"{counted(several, 'task')} with a ground truth or several annotations: {parts}. "
                "A ground truth comes first, then what most of them say, then the newest."
            )
        if ways["given"]:
            notes.append(
                f"Of {counted(ways['given'], 'task')} without an annotation the label is "
                f"{self._given[-1]!r}, as this program exports them."
            )
        return notes


def _is_own(survey: _Survey) -> bool:
    """Return whether this program has written the tasks, with the label that each example had."""
    return {OWN_KEY, _OWN_PLACE} <= survey.data.keys() and any(
        given in survey.data for given in OWN_ANSWERS.values()
    )


def _choose_column(fitting: Sequence[str]) -> str | None:
    """Return the only column, or the only one that is called like labels; None where unclear."""
    named = [name for name in fitting if normalise(name) in LABEL_NAMES]
    return fitting[0] if len(fitting) == 1 else named[0] if len(named) == 1 else None


def _describe(survey: _Survey) -> list[str]:
    """Report what the tasks have that is not read."""
    notes = []
    if survey.num_cancelled:
        number = counted(survey.num_cancelled, "cancelled (skipped) annotation")
        notes.append(f"Not counted: {number}.")
    if survey.num_predicted:
        number = counted(survey.num_predicted, "task")
        notes.append(f"Predictions of models, in {number}, are not read.")
    if survey.others:
        kinds = ", ".join(f"{kind} ({n:,})" for kind, n in survey.others.most_common(5))
        notes.append(f"Results that mark parts of the examples are not read: {kinds}.")
    fields = [name for name in survey.data if name not in _OWN]
    if _is_own(survey) and fields and not survey.pictures:
        notes.append(
            "The tasks are of a table, whose columns they have joined as a text. As a table again: "
            f"--features {quote(join_names(fields))}"
        )
    return notes
