"""Which arrays of an ``.npz`` file are inputs and which are labels, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tracin_core.errors import InputError
from tracin_core.sources.array_files import ArrayHeader
from tracin_core.sources.column_names import TEST_WORDS, TRAIN_WORDS
from tracin_core.sources.options import ImportOptions
from tracin_core.terms import Split

_INPUTS = ("x", "images", "image", "data", "features", "inputs", "imgs")
_LABELS = ("y", "labels", "label", "target", "targets", "classes")
CLASS_NAMES = ("class_names", "target_names", "label_names", "classes", "names")


@dataclass(frozen=True)
class ArrayPair:
    """Inputs and what is to be predicted of them.

    Attributes:
        inputs, answers: Names of the arrays.
        split: None where the file has no split.
    """

    inputs: str
    answers: str
    split: Split | None


def find_pairs(headers: Mapping[str, ArrayHeader], options: ImportOptions) -> list[ArrayPair]:
    """Find the arrays that belong together.

    Raises:
        InputError: If that cannot be told, or their lengths differ.
    """
    answers = options.label or options.target
    if options.image or (options.features and len(options.features) == 1):
        inputs = options.image or (options.features or ("",))[0]
        pairs = _named_pairs(headers, inputs, answers)
    else:
        pairs = _guess_pairs(headers, answers)
    for pair in pairs:
        _check_lengths(headers[pair.inputs], headers[pair.answers])
    return pairs


def _named_pairs(
    headers: Mapping[str, ArrayHeader], inputs: str, answers: str | None
) -> list[ArrayPair]:
    if answers is None:
        raise _cannot_tell(headers, "The labels' array was not named.")
    for name in (inputs, answers):
        if name not in headers:
            raise _cannot_tell(headers, f"There is no array {name!r}.")
    return [ArrayPair(inputs, answers, None)]


def _guess_pairs(headers: Mapping[str, ArrayHeader], answers: str | None) -> list[ArrayPair]:
    pairs: list[ArrayPair] = []
    split_inputs = _by_role(headers, _INPUTS)
    split_answers = _by_role(headers, _LABELS)
    if answers is not None:
        if answers not in headers:
            raise _cannot_tell(headers, f"There is no array {answers!r}.")
        split_answers = {None: answers}
    for word, inputs in split_inputs.items():
        if word in split_answers:
            split: Split | None = None
            if word is not None:
                split = "train" if word in TRAIN_WORDS else "test"
            pairs.append(ArrayPair(inputs, split_answers[word], split))
    # A file with x_train and x as well means its split.
    if any(pair.split for pair in pairs):
        pairs = [pair for pair in pairs if pair.split]
    if not pairs:
        raise _cannot_tell(headers, "No pair of inputs and labels is recognised by name.")
    return sorted(pairs, key=lambda pair: pair.split != "train")


def _by_role(headers: Mapping[str, ArrayHeader], roles: tuple[str, ...]) -> dict[str | None, str]:
    """Return the arrays of a role by their word for the split: x_train, train_x, X, images."""
    found: dict[str | None, str] = {}
    for role in roles:
        for name, header in headers.items():
            words = name.lower().split("_")
            if role not in words or not header.shape:
                continue
            rest = [word for word in words if word != role]
            if not rest:
                found.setdefault(None, name)
            elif len(rest) == 1 and rest[0] in (*TRAIN_WORDS, *TEST_WORDS):
                found.setdefault(rest[0], name)
    return found


def _check_lengths(inputs: ArrayHeader, answers: ArrayHeader) -> None:
    if not inputs.shape or not answers.shape or inputs.shape[0] != answers.shape[0]:
        raise InputError(
            f"The arrays {inputs} and {answers} do not belong together: their first sizes differ. "
            "Expected one label for each input. Name others with --image and --label."
        )


def _cannot_tell(headers: Mapping[str, ArrayHeader], found: str) -> InputError:
    arrays = ", ".join(str(header) for header in headers.values()) or "none"
    return InputError(
        f"{found} The arrays are: {arrays}. Expected x_train, y_train, x_test, y_test; or x, y; "
        "X, y; images, labels; data, target. Name others with --image (or --features) and "
        "--label (or --target)."
    )
