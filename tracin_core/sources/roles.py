"""Decide what each column of a table is: as the person says, else guessed, and said so."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from shlex import quote

from tracin_core.errors import InputError
from tracin_core.numerals import counted
from tracin_core.sources.accepted_options import without_effect
from tracin_core.sources.column_names import (
    SPLIT_NAMES,
    find_axis,
    first_named,
    guess_split,
)
from tracin_core.sources.guesses import (
    describe_candidates,
    guess_image,
    guess_label,
    guess_text,
    is_the_answer,
    reason_against,
)
from tracin_core.sources.label_status import (
    StatusColumn,
    find_statuses,
    name_status,
    note_statuses,
)
from tracin_core.sources.name_lists import join_names, split_names
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.other_texts import find_other_texts, note_texts_as_names
from tracin_core.sources.profiles import Profile, TableProfile, read_names
from tracin_core.sources.records import Column
from tracin_core.sources.role_notes import (
    note_left_out,
    note_more_images,
    note_no_texts,
    note_unused_splits,
    note_words,
    suggest_regression,
)
from tracin_core.sources.rows import RowReader, Schema
from tracin_core.sources.split_values import choose_split_values
from tracin_core.sources.values import check_text, show
from tracin_core.terms import Kind, Task


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
    """See that there is something to look at.

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
    """See that no values of a split are named where there is none.

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
    """See that what was guessed to be a text is no name of a file, picture or vector.

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
    """See that the input is not the label in other words.

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
