"""Assign a role to each column of a table: as the person says, else guessed, and reported.

``find_roles`` is the way in. The notes on what was assigned, and on which values of a split are
for training, stand before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from shlex import quote

from relabel.importers.accepted_options import without_effect
from relabel.importers.columns.column_names import (
    SPLIT_NAMES,
    TRUTH_NAMES,
    find_axis,
    first_named,
    guess_split,
    normalise,
)
from relabel.importers.columns.guesses import (
    describe_candidates,
    find_other_texts,
    guess_image,
    guess_label,
    guess_text,
    is_the_answer,
    note_texts_as_names,
    reason_against,
)
from relabel.importers.columns.label_status import (
    OR_SPLIT,
    StatusColumn,
    find_statuses,
    name_status,
    note_statuses,
)
from relabel.importers.columns.profiles import Profile, TableProfile, read_names
from relabel.importers.columns.values import check_text, show
from relabel.importers.options import ImportOptions, join_names, split_names
from relabel.importers.records import Column, RowReader, Schema
from relabel.text import Kind, Task, counted
from tracin_core.errors import InputError

_MANY_NUMBERS = 50  # a label of more different whole numbers may be a measure
_MAX_SPLITS = 10  # parts of a data set
_FEW_NUMBERS = 10  # so may one of fewer, if most rows have one of their own
SPLIT_UNUSED = "left out by its split"
# Roles of which one is enough, and what says another column.
_EITHER = (
    (("label", "target"), "--label or --target says"),
    (("text", "image", "features"), "--text, --image or --features says"),
    (("key",), "--key says"),
)


def note_left_out(columns: Iterable[Column], kind: str) -> list[str]:
    """Report the columns that are left out, and why."""
    notes = [f"Column {c.name!r}: {c.role}." for c in columns if c.role.startswith("left out: ")]
    truths = [c.name for c in columns if c.role == "left out" and normalise(c.name) in TRUTH_NAMES]
    if kind != "table" and truths:
        notes.append(
            f"Column {truths[0]!r} is called like the truth; --truth {quote(truths[0])} uses it "
            "for evaluation, and for nothing else."
        )
    return notes


def note_words(columns: Iterable[Column], profile: TableProfile) -> list[str]:
    """Report inputs that would be numbers but for some words."""
    return [
        f"Column {column.name!r} holds numbers in {found.numbers:,} of {found.present:,} rows, and "
        f"words such as {show(found.word)}; so it is read as names. If the words mean that a "
        "number is missing, empty those cells."
        for column in columns
        if column.role == "feature" and column.kind == "category"
        if 2 * (found := profile.columns[column.name]).numbers > found.present
    ]


def note_no_texts(columns: Iterable[Column], profile: TableProfile) -> list[str]:
    """Report texts that are names of files, and of those some of which are pictures."""
    names = [
        f"Column {column.name!r} holds names of files, such as {show(found.word)}: what is in them "
        "is not read, and the names themselves are the texts."
        for column in columns
        if column.role == "text" and (found := profile.columns[column.name]).is_file_name
    ]
    return names + [
        f"{found.encoded:,} of the first {found.present:,} cells of column {column.name!r} are "
        "pictures written as letters, and are read as texts here. Leave those rows out, or "
        f"--image {quote(column.name)} takes the pictures alone."
        for column in columns
        if column.role == "text" and (found := profile.columns[column.name]).encoded
    ]


def note_more_images(images: Iterable[str], image: str) -> list[str]:
    """Report other columns of pictures, beside the one that is used."""
    others = [repr(name) for name in images if name != image]
    if not others:
        return []
    hold = "Column {} holds pictures too" if len(others) == 1 else "Columns {} hold pictures too"
    return [f"{hold.format(', '.join(others[:5]))}; one is used, which --image names."]


def note_unused_splits(columns: Iterable[Column], profile: TableProfile) -> list[str]:
    """Report columns that may say what is for training, where none was found or named."""
    notes = []
    for column in columns:
        is_free = column.role == "feature" or column.role.startswith("left out")
        is_free = is_free and normalise(column.name) not in OR_SPLIT  # told as a status
        found = profile.columns.get(column.name) if is_free else None
        values = _split_values(found) if found is not None else None
        if values is None:
            continue
        train, test = values
        notes.append(
            f"Column {column.name!r} may say what is for training and testing. It is not followed. "
            f"--split {quote(column.name)} --train-values {quote(join_names(train))} "
            f"--test-values {quote(join_names(test))}"
        )
    return notes


def _split_values(column: Profile) -> tuple[list[str], list[str]] | None:
    """Return the values for training and those for testing, None where a column says neither."""
    if not 2 <= len(column.distinct) <= _MAX_SPLITS:
        return None
    values = sorted(f"{v:g}" if isinstance(v, float) else str(v) for v in column.distinct)
    lower = {value.lower(): value for value in values}
    name = guess_split(column.name)
    if name is not None and lower.keys() in ({"true", "false"}, {"0", "1"}, {"yes", "no"}):
        yes = next(lower[word] for word in ("true", "1", "yes") if word in lower)
        no = next(value for value in values if value != yes)
        return ([yes], [no]) if name == "train" else ([no], [yes])
    said = {value: guess_split(value) for value in values}
    train, test = ([v for v in values if said[v] == one] for one in ("train", "test"))
    return (train, test) if train and test else None


def suggest_regression(schema: Schema, profile: Profile, notes: list[str]) -> None:
    """Report a label of many numbers, which is rather a measure."""
    different = len(profile.distinct)
    often = different >= _FEW_NUMBERS and 2 * different > profile.present
    many = profile.is_number and (different > _MANY_NUMBERS or often)
    if many and profile.name not in schema.class_names:
        notes.append(
            f"The column {profile.name!r} has many different numbers. If it measures something, "
            f"predict the number instead of classes: --target {quote(profile.name)}"
        )


def choose_split_values(
    values: Iterable[str], options: ImportOptions, notes: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Describe which values of a split are for training and which for testing.

    Raises:
        InputError: If none is for training, or one that is named does not occur.
    """
    found = sorted(set(values))
    _check_occur(found, options)
    train, test = options.train_values, options.test_values
    if test is None:
        test = tuple(v for v in found if guess_split(v) == "test" and v not in (train or ()))
    if train is None:
        train = tuple(value for value in found if value not in test)
        # Beside a value that says train, an unknown one (such as "unlabelled") is neither.
        train = tuple(v for v in train if guess_split(v) == "train") or train
    if not set(train) & set(found):
        raise InputError(
            f"No value of the split is for training: found {', '.join(found[:10])}. Name those "
            "that are with --train-values."
        )
    unused = [value for value in found if value not in (*train, *test)]
    notes.append(
        f"Split: {', '.join(train)} for training, {', '.join(test) or 'none'} for testing"
        + (f"; {', '.join(unused[:10])} left out" if unused else "")
        + ". --train-values and --test-values say otherwise."
    )
    return train, test


def _check_occur(found: Sequence[str], options: ImportOptions) -> None:
    """Check that every value that was named is there.

    Raises:
        OptionWithoutEffectError: If one is not.
    """
    for name in ("train_values", "test_values"):
        missing = [value for value in getattr(options, name) or () if value not in found]
        if missing:
            raise without_effect(
                (name,),
                f"no split is called {', '.join(map(show, missing[:5]))}",
                f"Found {', '.join(map(show, found[:10]))}. Name those that are there.",
            )


@dataclass
class Roles:
    """What each column is.

    Attributes:
        kind, task: What the examples are and what is predicted.
        options: With the columns filled in.
        columns: All, with their roles.
        notes: What was guessed and how to say otherwise.
    """

    kind: Kind
    task: Task
    options: ImportOptions
    columns: tuple[Column, ...] = ()
    notes: list[str] = field(default_factory=list)


def find_roles(reader: RowReader, profile: TableProfile, options: ImportOptions) -> Roles:
    """Decide what each column is.

    Raises:
        InputError: If a named column does not exist or cannot be what it was named as, or what
            is to be predicted or the input cannot be guessed.
    """
    try:
        return _find_all_roles(reader, profile, options)
    except InputError as error:
        if not profile.num_problems or not profile.rows or profile.problem is None:
            raise
        raise InputError(
            f"{error} {profile.num_problems:,} of the first "
            f"{profile.num_problems + profile.num_rows:,} rows cannot be read, which may be why. "
            f"The first one, {profile.problem.where}: {profile.problem.message}"
        ) from error


def _find_all_roles(reader: RowReader, profile: TableProfile, options: ImportOptions) -> Roles:
    schema = reader.schema
    _check_rows(profile)
    _check_names(schema, options)
    notes: list[str] = []
    options = _adopt_roles(schema, options, notes)
    options = _find_split(reader, profile, options, notes)
    options = _find_answer(schema, profile, options, notes)
    statuses = find_statuses(reader, profile, _named(options))
    sure = next((column for column in statuses if column.is_sure and column.is_plain), None)
    if sure is not None and options.status is None:
        options = replace(options, status=sure.name)
    guessed_input = options.features is None
    options = _find_input(schema, profile, options, notes)
    kind: Kind = "text" if options.text else "image" if options.image else "table"
    options = _find_status(reader, statuses, options, kind, notes)
    _check_answer_is_no_input(profile, options)
    for name in _named(options):  # they are kept with the project
        check_text(name, "The name of a column")
    columns = _describe_columns(schema, profile, options, kind)
    task: Task = "regression" if options.target else "classification"
    notes += note_left_out(columns, kind) + note_words(columns, profile)
    notes += note_no_texts(columns, profile)
    notes += note_unused_splits(columns, profile) if options.split is None else []
    notes += note_texts_as_names(columns, profile.columns) if guessed_input else []
    return Roles(kind, task, options, columns, notes)


def _check_rows(profile: TableProfile) -> None:
    """Check that there is something to look at.

    Raises:
        InputError: If no row can be read.
    """
    if profile.rows or not profile.columns:
        return
    wrong = profile.problem
    raise InputError(
        f"No row of the table can be read. The first one, {wrong.where}: {wrong.message}"
        if wrong
        else "The table has names of columns, but no row below them. Expected at least a few "
        "examples of every class. Export it again."
    )


def _named(options: ImportOptions) -> dict[str, str]:
    """Return the role by column, of those that are named."""
    roles = ("image", "label", "target", "split", "key", "truth", "status")
    named = {getattr(options, role): role for role in roles if getattr(options, role)}
    named |= dict.fromkeys(options.text_columns, "text")
    return named | dict.fromkeys(options.features or (), "feature")


def _check_names(schema: Schema, options: ImportOptions) -> None:
    for name, role in _named(options).items():
        if name not in schema.columns:
            cut = (options.text_columns, options.features)
            whole = [column for column in schema.columns if split_names(column) in cut]
            close = difflib.get_close_matches(name, schema.columns, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            if whole:
                meant = f" A name with a comma in it is quoted twice: '{join_names(whole[:1])}'."
            raise InputError(
                f"There is no column {name!r}, named as the {role}. The columns are: "
                f"{', '.join(schema.columns[:30])}.{meant} Name one of them."
            )


def _adopt_roles(schema: Schema, options: ImportOptions, notes: list[str]) -> ImportOptions:
    """Fill in the columns whose role the file itself says, where the person says nothing else."""
    named = _named(options)
    said: dict[str, str] = {}
    for roles, switches in _EITHER:
        if not any(getattr(options, role) for role in roles):
            said |= {r: c for r in roles if (c := schema.roles.get(r)) and c not in named}
            known = [(role, said[role]) for role in roles if role in said]
            notes += [
                f"{role.capitalize()}: {column!r}, as the file says. {switches} otherwise."
                for role, column in known
            ]
    return replace(options, **said)  # type: ignore[arg-type]


def _find_split(
    reader: RowReader, profile: TableProfile, options: ImportOptions, notes: list[str]
) -> ImportOptions:
    """Find the split column and which of its values are for what."""
    column, splits = options.split, reader.schema.splits
    if column is None and not splits:
        free = [name for name in profile.columns if name not in _named(options)]
        column = first_named(free, SPLIT_NAMES)
        seen = profile.columns[column].distinct if column else set()
        if column is None or len(seen) > 10 or not any(guess_split(str(name)) for name in seen):
            _check_no_split_values(options)
            return options
        notes.append(f"Split: column {column!r}. --split says otherwise.")
    values = splits if column is None else sorted(read_names(reader, column))
    train, test = choose_split_values(values, options, notes)
    return replace(options, split=column, train_values=train, test_values=test)


def _check_no_split_values(options: ImportOptions) -> None:
    """Check that no values of a split are named where there is none.

    Raises:
        OptionWithoutEffectError: If some are.
    """
    named = [n for n in ("train_values", "test_values") if getattr(options, n) is not None]
    if named:
        raise without_effect(
            named, "no column says what is for training", "Name that column with --split."
        )


def _find_answer(
    schema: Schema, profile: TableProfile, options: ImportOptions, notes: list[str]
) -> ImportOptions:
    """Find the label, or the number that is to be predicted."""
    if options.target or options.label:
        named = profile.columns.get(options.target or options.label or "")
        if named is None or (options.target and not named.is_number):
            raise InputError(
                f"The column {options.target or options.label!r} was named as "
                f"{'a number to predict' if options.target else 'the label'}, but holds "
                f"{', '.join(named.examples) if named else 'images'}. Name another column"
                + (", or use --label for classes." if options.target else ".")
            )
        if options.label:
            suggest_regression(schema, named, notes)
        return options
    guessed = guess_label(schema, profile, options, taken=_named(options))
    if guessed is None:
        raise InputError(
            "Which column is to be predicted cannot be told. The columns are: "
            f"{', '.join(schema.columns[:30])}.{describe_candidates(profile, _named(options))} "
            "Name a column of classes with --label, or one of numbers with --target."
        )
    if profile.columns[guessed].is_fraction and guessed not in schema.class_names:
        notes.append(
            f"Target: the numbers in column {guessed!r}. --target or --label says otherwise."
        )
        return replace(options, target=guessed)
    notes.append(f"Label: column {guessed!r}. --label or --target says otherwise.")
    suggest_regression(schema, profile.columns[guessed], notes)
    return replace(options, label=guessed)


def _find_input(
    schema: Schema, profile: TableProfile, options: ImportOptions, notes: list[str]
) -> ImportOptions:
    """Find what the examples are: an image, a text, or the other columns."""
    if options.text or options.image or options.features:
        return options
    taken = _named(options)
    free = {name: column for name, column in profile.columns.items() if name not in taken}
    image = guess_image(schema, free, taken)
    if image is not None:
        in_cells = image in free and free[image].encoded > 0
        notes.append(
            f"Image: column {image!r}{', decoded from its cells' if in_cells else ''}. --image, "
            "--text or --features says otherwise."
        )
        paths = [name for name, column in free.items() if column.is_image_path]
        notes += note_more_images([*sorted(schema.image_columns), *paths], image)
        return replace(options, image=image)
    text = guess_text(free)
    if text is not None:
        _check_are_texts([free[name] for name in ([text] if isinstance(text, str) else text)])
        told = (
            f"column {text!r}" if isinstance(text, str) else f"columns {join_names(text)}, joined"
        )
        notes.append(f"Text: {told}. --text, --image or --features says otherwise.")
        return replace(options, text=text)
    answer = options.label or options.target or ""
    against = {
        name: reason_against(column, profile, answer, options.target is not None)
        for name, column in free.items()
    }
    features = tuple(name for name, reason in against.items() if reason is None)
    if not features:
        _check_are_texts([column for column in free.values() if column.is_file_name][:1])
        reasons = "".join(
            f" {name!r} is left out ({against[name]})." for name in list(against)[:10]
        )
        raise InputError(
            f"No column is left as the input. The columns are: {', '.join(schema.columns[:30])}."
            f"{reasons} Name one with --text or --image, or some with --features."
        )
    columns = counted(len(features), "column")
    notes.append(f"Input: {columns} of the table. --features says otherwise.")
    return replace(options, features=features)


def _check_are_texts(columns: Collection[Profile]) -> None:
    """Check that what was guessed to be a text is no name of a file, picture or vector.

    Raises:
        InputError: If it is.
    """
    for column in columns:
        if column.is_file_name:
            raise InputError(
                f"The column {column.name!r} holds names of files, such as {show(column.word)}. "
                "What is in them does not come along with a table. Texts are wanted in the cells: "
                f"data['text'] = [Path(name).read_text() for name in data[{column.name!r}]]; "
                "data.to_csv('with-texts.csv', index=False), with pathlib's Path. If the names "
                f"are the texts nevertheless: --text {quote(column.name)}"
            )
        if 2 * column.vectors > column.present:
            raise InputError(
                f"The column {column.name!r} holds rows of numbers, not texts: it begins with "
                f"{show(column.word)}. A picture or a vector is wanted as an array: "
                f"np.savez('data.npz', x=np.stack([np.array(text.strip('[]').replace(',', ' ')"
                f".split(), float) for text in data[{column.name!r}]]), y=data[...].to_numpy(str)),"
                " for pictures as np.uint8 and in the shape (N, H, W); then import data.npz. If it "
                f"is a text nevertheless, name it with --text {quote(column.name)}"
            )


def _find_status(
    reader: RowReader,
    statuses: list[StatusColumn],
    options: ImportOptions,
    kind: Kind,
    notes: list[str],
) -> ImportOptions:
    """Find the column that says whether labels hold; beside measures it may be one of them."""
    taken = {name for name, role in _named(options).items() if role not in ("status", "feature")}
    free = [column for column in statuses if column.name not in taken]
    chosen = next((column for column in free if column.name == options.status), None)
    if options.status is None and kind != "table":
        chosen = next((column for column in free if column.is_plain), None)
    options = name_status(reader, options, chosen, notes)
    others = [column for column in free if column.name != options.status]
    notes += note_statuses([one for one in others if one.is_known or kind != "table"], kind)
    return options


def _check_answer_is_no_input(profile: TableProfile, options: ImportOptions) -> None:
    """Check that the input is not the label in other words.

    Raises:
        InputError: If it is.
    """
    answer = options.label or options.target
    for name in (*options.text_columns, *(options.features or ())):
        if answer and is_the_answer(profile, name, answer, options.target is not None):
            raise InputError(
                f"The column {name!r} is the label: it says in every row the same as {answer!r}. "
                "A network would only copy it, and no error could be found. Leave it out of the "
                "input, or name another label."
            )


def _describe_columns(
    schema: Schema, profile: TableProfile, options: ImportOptions, kind: Kind
) -> tuple[Column, ...]:
    named = _named(options)
    answer = options.label or options.target or ""
    is_table = bool(options.features)
    free = {name: column for name, column in profile.columns.items() if name not in named}
    texts = find_other_texts(free, schema.columns, options, kind)
    columns = []
    for name in schema.columns:
        column = profile.columns.get(name)
        if column is None:
            columns.append(Column(name, named.get(name, "left out"), "image"))
            continue
        role = named.get(name, "left out")
        if role == "left out" and is_table:
            reason = reason_against(column, profile, answer, options.target is not None)
            role = f"left out: {reason}" if reason else role
        role = texts.get(name, role)
        holds = "text" if name in texts else _kind_of(column, role)
        axis = find_axis(name, column.low, column.high) if holds == "number" else None
        columns.append(Column(name, role, holds, tuple(column.examples), axis))
    return tuple(columns)


def _kind_of(column: Profile, role: str) -> str:
    if role in ("text", "image"):
        return role
    if not column.present:
        return "nothing"
    if column.is_number and role != "label":
        return "number"
    return "text" if column.is_prose else "category"
