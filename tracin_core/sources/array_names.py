"""Which arrays of an ``.npz`` file are inputs and which are labels, by their names."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tracin_core.errors import InputError
from tracin_core.sources.accepted_options import without_effect
from tracin_core.sources.array_files import ArrayHeader
from tracin_core.sources.column_names import TEST_WORDS, TRAIN_WORDS, TRUTH_NAMES
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
    if options.features is not None and len(options.features) > 1:
        raise without_effect(
            ("features",),
            "the columns of an array have no names, so several cannot be chosen",
            "Name the array with the rows alone, and save it without the columns that are no "
            "input.",
        )
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
        split_answers = _named_answers(headers, answers, split_inputs, split_answers)
    for word, inputs in split_inputs.items():
        labels = split_answers.get(word) or _find_labels(headers, inputs, word)
        if labels is not None:
            split: Split | None = None
            if word is not None:
                split = "train" if word in TRAIN_WORDS else "test"
            pairs.append(ArrayPair(inputs, labels, split))
        elif word in TRAIN_WORDS and len(split_inputs) > 1:
            raise _cannot_tell(headers, f"The array {inputs!r} has no array of labels.")
    # A file with x_train and x as well means its split.
    if any(pair.split for pair in pairs):
        pairs = [pair for pair in pairs if pair.split]
    if not pairs:
        raise _cannot_tell(headers, "No pair of inputs and labels is recognised by name.")
    return sorted(pairs, key=lambda pair: pair.split != "train")


def _named_answers(
    headers: Mapping[str, ArrayHeader],
    answers: str,
    split_inputs: Mapping[str | None, str],
    guessed: dict[str | None, str],
) -> dict[str | None, str]:
    """Return the arrays of labels where one was named: alone, of one part, or by what parts share.

    Raises:
        InputError: If there is none.
    """
    words = [word for word in split_inputs if word is not None]
    if answers not in headers:
        shared: dict[str | None, str] = {
            word: name
            for word in words
            for name in (f"{answers}_{word}", f"{word}_{answers}")
            if name in headers
        }
        if not shared:
            raise _cannot_tell(headers, f"There is no array {answers!r}.")
        return shared
    own = (_split_word(answers) or "").lower()
    if own not in words:
        return {None: answers}
    # The other parts have what is called alike, else what is called like labels.
    alike = {w: n for w in words if (n := answers.replace(own, w)) in headers}
    return guessed | alike | {own: answers}


def _find_labels(headers: Mapping[str, ArrayHeader], inputs: str, word: str | None) -> str | None:
    """Return the only array that may be labels of a part under a longer name: "y_train_noisy".

    Raises:
        InputError: If there are several.
    """
    if word is None:
        return None
    found = [
        name
        for name, header in headers.items()
        if {word} < set(words := name.lower().split("_")) and set(words) & set(_LABELS)
        if not _is_truth(name) and header.shape[:1] == headers[inputs].shape[:1]
    ]
    if len(found) > 1:
        raise _cannot_tell(
            headers, f"The array {inputs!r} has several arrays of labels: {', '.join(found)}."
        )
    return found[0] if found else None


def _is_truth(name: str) -> bool:
    return _without_split(name).lower() in (*TRUTH_NAMES, "y_true", "clean_y", "y_clean")


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


def find_beside(
    headers: Mapping[str, ArrayHeader], pairs: Sequence[ArrayPair], role: str, name: str
) -> dict[str, str]:
    """Find the arrays that say something more of the examples, such as what is truly right.

    Args:
        headers: Of all arrays.
        pairs: Of inputs and what is to be predicted.
        role: What they say, for messages.
        name: As the person gave it: "truth" also means truth_train and truth_test.

    Returns:
        The array for each array of inputs; those without one are left out.

    Raises:
        InputError: If there is none, or one has another length than the inputs.
    """
    found = {}
    for pair in pairs:
        word = _split_word(pair.inputs)
        names = [name] if _split_word(name) == word else []
        names += [f"{name}_{word}", f"{word}_{name}"] if word else []
        if len(pairs) == 1:
            names.append(name)
        one = next((one for one in names if one in headers), None)
        if one is not None:
            found[pair.inputs] = one
    if not found:
        words = [word for pair in pairs if (word := _split_word(pair.inputs))]
        expected = " and ".join(f"{name}_{word}" for word in words) or repr(name)
        raise _cannot_tell(
            headers, f"There is no array {expected}, named as the {role} with --{role} {name}."
        )
    for inputs, one in found.items():
        header = headers[one]
        if header.shape[:1] != headers[inputs].shape[:1] or math.prod(header.shape[1:]) != 1:
            raise InputError(
                f"The array {header}, named as the {role}, does not belong to {headers[inputs]}: "
                "expected one value for each example. Save it again, or name another one."
            )
        if header.dtype.kind not in "iufUb":
            raise InputError(
                f"The array {header}, named as the {role}, holds neither numbers nor words. Save "
                "array.astype(str)."
            )
    return found


def note_others(names: Collection[str]) -> list[str]:
    """Tell of the arrays that are left out; those called like the truth have a use."""
    truths = sorted(filter(_is_truth, names))
    notes = []
    if truths:
        name = truths[0] if _split_word(truths[0]) is None else _without_split(truths[0])
        notes.append(
            f"Array {', '.join(truths)} is called like the truth; --truth {name} uses it for "
            "evaluation, and for nothing else."
        )
    others = sorted(set(names) - set(truths))
    if others:
        notes.append(f"Left out: {', '.join(others)}. --image and --label name others.")
    return notes


def _split_word(name: str) -> str | None:
    """Return the word for the split in the name of an array, as it stands there."""
    words = [word for word in name.split("_") if word.lower() in (*TRAIN_WORDS, *TEST_WORDS)]
    return words[0] if words else None


def _without_split(name: str) -> str:
    word = _split_word(name)
    return "_".join(one for one in name.split("_") if one != word)


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
