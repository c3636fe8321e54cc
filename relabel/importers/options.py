"""The options of an import; what is left out is found out from the data."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from io import StringIO
from typing import Any

from relabel.importers.formats.registry import IMPORTERS
from relabel.text import LARGEST_SEED
from tracin_core.errors import ConfigurationError, InputError

_DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


class OptionWithoutEffectError(InputError):
    """Something was said that changes nothing for this kind of data.

    Attributes:
        names: Of the options, as ``ImportOptions`` has them.
    """

    def __init__(self, message: str, names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.names = names


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How data is to be understood; None where it is to be found out.

    Attributes:
        format: A name in ``IMPORTERS``.
        dataset: Name of a torchvision data set, for instance "MNIST".
        columns: Names for the columns of a text file whose first line is data.
        text: Column with texts, or several whose texts are joined.
        image: Column with image files or image data; of an ``.npz`` file, the array.
        label: Column with classes; of an ``.npz`` file, the array.
        features: Columns of a table that are the input.
        target: Column with a number to be predicted; makes the task a regression.
        split: Column that says which rows are for training.
        train_values: Values of the split column, or folders, that are for training.
        test_values: The same for testing.
        key: Column with a name for each example that stays when the data grows.
        truth: Column with what is truly right; for evaluation only.
        status: Column that says whether a row's label holds, as annotation tools write it.
        status_values: Values of it with which a row is taken.
        classes: Names for integer labels, or the names in the order they are to have.
        first_class: Number of the first of ``classes`` where labels are numbers: 0 or 1.
        merge_twins: Whether class names that differ in spelling alone become one class.
        image_root: Folder that the image column's paths are relative to.
        test_share: Share of the examples for testing where the data has no split, 0 to 1.
        seed: Chooses the split and the planted errors.
        encoding: Of a text file, for instance "cp1252".
        delimiter: Between the fields of a line: one character, or "tab".
        sheet: Name of the sheet of a workbook.
        plant: Share of the train labels or numbers to make wrong on purpose, 0 to 1.
    """

    format: str | None = None
    dataset: str | None = None
    columns: tuple[str, ...] | None = None
    text: str | tuple[str, ...] | None = None
    image: str | None = None
    label: str | None = None
    features: tuple[str, ...] | None = None
    target: str | None = None
    split: str | None = None
    train_values: tuple[str, ...] | None = None
    test_values: tuple[str, ...] | None = None
    key: str | None = None
    truth: str | None = None
    status: str | None = None
    status_values: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    first_class: int | None = None
    merge_twins: bool = False
    image_root: str | None = None
    test_share: float = 0.2
    seed: int = 0
    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    plant: float = 0.0

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            known = _DELIMITER_NAMES.get(self.delimiter, self.delimiter)
            object.__setattr__(self, "delimiter", known)
        if isinstance(self.text, tuple) and len(self.text) < 2:
            # One column is always its name alone, as older projects have it.
            object.__setattr__(self, "text", self.text[0] if self.text else None)
        _check_choices(self)
        _check_shares(self)
        _check_lists(self)
        _check_columns(self)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Return the columns that make up an example's text; none where it is no text."""
        if isinstance(self.text, tuple):
            return self.text
        return (self.text,) if self.text else ()

    def to_json(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, as ``from_json`` takes them."""
        defaults = {field.name: field.default for field in fields(self)}
        given = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ImportOptions:
        """Make the options that ``to_json`` described.

        Raises:
            ConfigurationError: If there is an option that this version does not know.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigurationError(
                f"The saved import options do not fit this version ({error}). "
                "Give the options again, or import into a new project."
            ) from error


def _check_choices(options: ImportOptions) -> None:
    if options.format is not None and options.format not in IMPORTERS:
        raise ConfigurationError(
            f"Found the format {options.format!r}. Expected one of {', '.join(IMPORTERS)}; "
            "leave it out to have it found from the data."
        )
    if options.delimiter is not None and (
        len(options.delimiter) != 1 or options.delimiter in '"\r\n'
    ):
        raise ConfigurationError(
            f"Found the delimiter {options.delimiter!r}. Expected one character such as ',' or "
            "';', or the word tab. Leave it out to have it found from the file."
        )
    if options.first_class not in (None, 0, 1):
        raise ConfigurationError(
            f"Found {options.first_class} as the number of the first class. Expected 0 or 1. Leave "
            "it out to have it found from the labels."
        )
    try:
        codecs.lookup(options.encoding or "utf-8")
    except LookupError as error:
        raise ConfigurationError(
            f"Found the encoding {options.encoding!r}, which Python does not know. Expected for "
            "example utf-8, utf-16 or cp1252. Leave it out to have it found from the file."
        ) from error


def _check_shares(options: ImportOptions) -> None:
    if type(options.seed) is not int or not 0 <= options.seed <= LARGEST_SEED:
        raise ConfigurationError(
            f"Found the seed {options.seed!r:.80}. Expected a whole number from 0 to "
            f"{LARGEST_SEED}: any of them, the same for the same split."
        )
    if not 0.0 < options.test_share < 1.0:
        raise ConfigurationError(
            f"Found a share of test examples of {options.test_share}. Expected a number between "
            "0 and 1, for example 0.2 to keep one in five for testing."
        )
    if not 0.0 <= options.plant <= 1.0:
        raise ConfigurationError(
            f"Found a share of planted errors of {options.plant}. Expected a number from 0 to 1, "
            "for example 0.1 to make one label in ten wrong."
        )


def _check_lists(options: ImportOptions) -> None:
    """Check that every column is named once."""
    lists = {"--columns": options.columns, "--text": options.text_columns or None}
    for switch, names in lists.items():
        if names is None:
            continue
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled or not all(name.strip() for name in names) or not names:
            found = f"{', '.join(map(repr, doubled))} twice" if doubled else "an empty name"
            raise ConfigurationError(
                f"Found {found} among the names given with {switch}. Expected every column once, "
                "separated by commas. Correct them; a name with a comma in it stands in double "
                "quotes."
            )


def _check_columns(options: ImportOptions) -> None:
    """Check that no two options contradict each other."""
    _at_most_one(options, ("label", "target"), "what is to be predicted: a class or a number")
    _at_most_one(options, ("text", "image", "features"), "what the input is")
    answers = {options.label, options.target} - {None}
    inputs = {*options.text_columns, options.image, *(options.features or ())}
    if answers & inputs:
        name = answers & inputs
        raise ConfigurationError(
            f"The column {', '.join(map(repr, sorted(filter(None, name))))} was named as the "
            "input and as what is to be predicted. A network would only copy it, and no error "
            "could be found. Name another column, or leave the input out to have it guessed."
        )
    if options.truth is not None and options.truth in answers | inputs:
        raise ConfigurationError(
            f"The column {options.truth!r} was named as the truth and in another role. The truth "
            "is for evaluation only. Name another column, or leave --truth out."
        )
    if options.status is not None and options.status in answers | inputs | {options.truth}:
        raise ConfigurationError(
            f"The column {options.status!r} was named as the status and in another role. The "
            "status says whether a row's label holds. Name another column, or leave --status out."
        )


def _at_most_one(options: ImportOptions, names: tuple[str, ...], what: str) -> None:
    given = [f"--{name}" for name in names if getattr(options, name) is not None]
    if len(given) > 1:
        raise ConfigurationError(
            f"Found {' and '.join(given)} together. Both say {what}; expected one of them. "
            "Leave the others out."
        )


def split_names(text: str) -> tuple[str, ...]:
    """Split at commas; a name with a comma in it stands in double quotes, as in CSV."""
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


def join_names(names: Iterable[str]) -> str:
    """Write names in one line so that ``split_names`` finds them again."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()
