"""Which options have an effect on which format: one without an effect is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

from relabel.importers.formats.registry import ROLES, Form
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from relabel.importers.records import Source

# These say how, not where: they have an effect wherever there is something to choose.
_EVERYWHERE = ("format", "test_share", "seed", "plant")

_EXAMPLES: Mapping[str, str] = {"text": "texts", "table": "rows of values", "image": "pictures"}
# What works instead, by option; what does instead of naming a column, each form says itself.
_INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(
        ("status", "status_values"), "It has no column that says whether a label holds."
    ),
    "merge_twins": "The names of its classes are known, and written in one way.",
    "columns": "It has no columns without names: those of a text file (CSV, TSV) whose first line "
    "is data can be given some with --columns.",
    "dataset": "It names a torchvision data set, whose folder is the path.",
    "encoding": "Its texts say themselves how they are written, or it holds none.",
    "delimiter": "Only lines of CSV or TSV have fields with a character between them.",
    "sheet": "Only a workbook of Excel has sheets.",
    "image_root": "Its pictures are not named by paths in a column.",
    "first_class": "Its labels are names; --classes gives their order.",
    **dict.fromkeys(
        ("train_values", "test_values"),
        "It tells itself what is for training and what for testing.",
    ),
}


def switch_of(name: str) -> str:
    """Return an option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def name_given(options: ImportOptions) -> tuple[str, ...]:
    """Return the options that were said: those that differ from what they are otherwise."""
    return tuple(f.name for f in fields(options) if getattr(options, f.name) != f.default)


def check_have_effect(form: Form, options: ImportOptions) -> None:
    """Check that all that was said can change something for this kind of data.

    Args:
        form: Of the data.
        options: What was said.

    Raises:
        OptionWithoutEffectError: If something cannot.
    """
    allowed = {*form.options, *_EVERYWHERE}
    without = tuple(name for name in name_given(options) if name not in allowed)
    if without:
        raise OptionWithoutEffectError(_describe(form, without), without)


def check_used(source: Source, options: ImportOptions) -> None:
    """Check that what was said of the input and the classes is of use, now that both are known.

    Args:
        source: The data as it was understood.
        options: What was said.

    Raises:
        OptionWithoutEffectError: If something is of no use.
    """
    if options.image_root is not None and source.kind != "image":
        raise without_effect(
            ("image_root",),
            f"the examples are {_EXAMPLES[source.kind]}, not pictures in files",
            "Name the column with the pictures' paths with --image, or leave it out.",
        )
    of_classes = tuple(
        name for name in ("classes", "first_class", "merge_twins") if name in name_given(options)
    )
    if of_classes and source.task == "regression":
        raise without_effect(
            of_classes,
            f"numbers are predicted ({source.target}), which have no classes",
            "Leave it out, or name the column of the classes with --label.",
        )
    if options.first_class is not None and not source.counts_classes:
        raise without_effect(
            ("first_class",),
            "the labels are no numbers into a list of names"
            if options.classes is None
            else f"the labels are names themselves, such as {source.classes[0]!r}"
            if source.classes
            else "the labels are names themselves",
            "Give the names that 0, 1, 2 stand for with --classes, or leave it out.",
        )


def check_split_options(options: ImportOptions, *, has_split: bool) -> None:
    """Check that what chooses a split is not said of data that has one.

    Raises:
        OptionWithoutEffectError: If it is.
    """
    given = [name for name in ("test_share", "seed") if name in name_given(options)]
    if options.plant > 0 and "seed" in given:  # it chooses the planted errors as well
        given.remove("seed")
    if has_split and given:
        raise without_effect(
            given,
            "the data says itself what is for training and what for testing",
            "Leave it out; which parts are for what is said with --train-values and --test-values.",
        )


def without_effect(names: Iterable[str], why: str, instead: str) -> OptionWithoutEffectError:
    """Return the error for options that could have an effect on such data, but not on this.

    Args:
        names: The options.
        why: The data is like that, as the end of "... has no effect: ".
        instead: What to do.
    """
    given = tuple(names)
    switches = " and ".join(map(switch_of, given))
    verb = "has" if len(given) == 1 else "have"
    return OptionWithoutEffectError(f"{switches} {verb} no effect: {why}. {instead}", given)


def drop_options(options: ImportOptions, names: Iterable[str]) -> ImportOptions:
    """Return options without some of what was said."""
    defaults = {field.name: field.default for field in fields(options)}
    return replace(options, **{name: defaults[name] for name in names})  # type: ignore[arg-type]


def _describe(form: Form, without: tuple[str, ...]) -> str:
    found = ", ".join(map(switch_of, without))
    verb = "has" if len(without) == 1 else "have"
    ways = (form.without_columns if name in ROLES else _INSTEAD.get(name, "") for name in without)
    told = dict.fromkeys(filter(None, ways))
    effective = ", ".join(switch_of(name) for name in form.options)
    return (
        f"{found} {verb} no effect on {form.words}. {' '.join(told)} Options that have one: "
        f"{effective}. Leave out the others, or say with --format if it is something else."
    )
