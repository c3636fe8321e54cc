"""How data is to be understood: what was found out, and boxes to say otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from relabel.importers.formats.registry import IMPORTERS
from relabel.importers.options import ImportOptions, join_names, split_names
from relabel.importers.records import Column, Preview

NO_COLUMN = "–"
_INPUTS = {"text": "Text", "image": "Image", "features": "Columns"}
_ANSWERS = {"label": "Class", "target": "Number"}
_ENCODINGS = (
    *("utf-8", "utf-16", "cp1252", "cp1250", "iso8859_2", "cp1251", "koi8_r", "cp1253"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
)
_DELIMITERS = {",": "Comma", ";": "Semicolon", "\t": "Tab", "|": "Vertical bar"}


def draw_reading(key: str, *, expanded: bool) -> ImportOptions:
    """Draw what must be known before anything can be read; usually nothing.

    Args:
        key: Names the data, so that other data starts from the beginning.
        expanded: Whether the boxes are shown at once.
    """
    box = st.expander("How to read it", expanded=expanded, key=f"{key}-reading")
    with box, st.container(horizontal=True):
        form = st.selectbox(
            "Format",
            [None, *IMPORTERS],
            format_func=_name_format,
            key=f"{key}-format",
            width=230,
        )
        dataset = None
        if form and IMPORTERS[form].claimed_by == "dataset":
            dataset = st.text_input(
                "Name of the data set",
                key=f"{key}-dataset",
                placeholder="FashionMNIST",
                help="As torchvision calls it. It must lie in the folder already: nothing is "
                "downloaded.",
                width=200,
            )
        encoding = st.selectbox(
            "Encoding of a text file",
            _ENCODINGS,
            index=None,
            placeholder="Found out",
            accept_new_options=True,
            key=f"{key}-encoding",
            width=200,
        )
        delimiter = st.selectbox(
            "Between the fields of a line",
            list(_DELIMITERS),
            format_func=lambda one: _DELIMITERS.get(one, one),
            index=None,
            placeholder="Found out",
            accept_new_options=True,
            key=f"{key}-delimiter",
            width=200,
        )
        sheet = st.text_input(
            "Sheet of a workbook",
            key=f"{key}-sheet",
            placeholder="The first with something in it",
            width=230,
        )
        columns = st.text_input(
            "Names of the columns",
            key=f"{key}-columns",
            placeholder="class,title,description",
            help="Only for a text file without a line of names, whose first line is data: a name "
            "for each column, separated by commas.",
            width=300,
        )
        classes = st.text_input(
            "Folders that are classes",
            key=f"{key}-folders",
            placeholder="images,masks",
            help="Only where folders of classes are taken for something else, such as pictures "
            "and their masks: their names, separated by commas. All others are left out.",
            width=250,
        )
    return ImportOptions(
        classes=split_names(classes) if classes.strip() else None,
        format=form,
        dataset=(dataset or "").strip() or None,
        encoding=(encoding or "").strip() or None,
        delimiter=delimiter or None,
        sheet=(sheet or "").strip() or None,
        columns=split_names(columns) if columns.strip() else None,
    )


def _name_format(name: str | None) -> str:
    words = IMPORTERS[name].title if name else "found out from the data"
    return words[0].upper() + words[1:]


def draw_meaning(found: Preview, key: str) -> ImportOptions:
    """Draw what each column is, as it was found, to be changed.

    Args:
        found: What was understood without a word from the person.
        key: Names the data and how it was read.

    Returns:
        The options as the boxes say them.

    Raises:
        ConfigurationError: If they contradict each other.
    """
    said: dict[str, Any] = {}
    importer = IMPORTERS[found.format]
    if found.columns and importer.layout != "arrays":
        said |= _draw_columns(found, key)
    with st.expander("More: split, keys, truth, class names, planted errors", key=f"{key}-more"):
        if found.columns and importer.layout != "arrays":
            said |= _draw_other_columns(found, key)
        is_class = found.task == "classification" and said.get("target") is None
        if importer.layout == "arrays" and not said:
            said |= _draw_arrays(found, key)
        if is_class and importer.layout in ("rows", "arrays"):
            said |= _draw_classes(found, key)
        elif importer.layout == "folders":
            said |= _draw_folders(found, key)
        can_merge = is_class and any("merge_twins" in form.options for form in importer.forms)
        said |= _draw_merging(found, key) if can_merge else {"merge_twins": False}
        if said.get("target") is not None:
            said |= {"classes": None, "first_class": None}
        said |= _draw_numbers(found, key)
    return replace(found.options, **said)


def _draw_columns(found: Preview, key: str) -> dict[str, Any]:
    names = [column.name for column in found.columns]
    left, right = st.columns(2, gap="large")
    with left:
        said = _draw_input(found, names, key)
    with right:
        said |= _draw_answer(found, names, key)
    return said


def _draw_input(found: Preview, names: list[str], key: str) -> dict[str, Any]:
    """Draw what an example is: a column, or several."""
    roles = {"text": "text", "image": "image", "table": "features"}
    chosen = st.segmented_control(
        "An example is",
        list(_INPUTS),
        format_func=lambda name: _INPUTS[name],
        default=roles[found.kind],
        required=True,
        key=f"{key}-input",
    )
    said: dict[str, Any] = dict.fromkeys(_INPUTS)
    if chosen == "features":
        picked = st.multiselect(
            "Columns that the model sees",
            names,
            default=[name for name in found.options.features or () if name in names],
            placeholder="All that suit",
            key=f"{key}-features",
        )
        return said | {"features": tuple(picked) or None}
    if chosen == "text":
        picked = st.multiselect(
            "Columns with the text",
            names,
            default=[name for name in found.options.text_columns if name in names],
            placeholder=NO_COLUMN,
            key=f"{key}-text",
            help="The texts of several columns are joined in the order chosen here, with a blank "
            "line between.",
        )
        return said | {"text": tuple(picked) or None}
    current = getattr(found.options, chosen)
    said[chosen] = _select_column(f"Column with the {chosen}", names, current, f"{key}-{chosen}")
    return said


def _draw_answer(found: Preview, names: list[str], key: str) -> dict[str, Any]:
    """Draw what is predicted: a class, or a number."""
    chosen = st.segmented_control(
        "What is to be predicted",
        list(_ANSWERS),
        format_func=lambda name: _ANSWERS[name],
        default="target" if found.task == "regression" else "label",
        required=True,
        key=f"{key}-answer",
    )
    said: dict[str, Any] = dict.fromkeys(_ANSWERS)
    label = "Column with the class" if chosen == "label" else "Column with the number"
    current = getattr(found.options, chosen)
    said[chosen] = _select_column(label, names, current, f"{key}-{chosen}-column")
    if chosen == "target":
        said["classes"] = None
    return said


def _draw_other_columns(found: Preview, key: str) -> dict[str, Any]:
    """Draw the columns that are neither input nor answer."""
    names, options = [column.name for column in found.columns], found.options
    said: dict[str, Any] = {}
    with st.container(horizontal=True):
        said["split"] = _select_column(
            "Column that tells train from test", names, options.split, f"{key}-split", width=250
        )
        if said["split"] is not None:
            values = _examples_of(found.columns, said["split"])
            for field, words in (("train_values", "train with"), ("test_values", "test with")):
                current = getattr(options, field) if said["split"] == options.split else None
                picked = st.multiselect(
                    f"Values of those to {words}",
                    list(dict.fromkeys([*(current or ()), *values])),
                    default=list(current or ()),
                    accept_new_options=True,
                    placeholder="Found out",
                    key=f"{key}-{said['split']}-{field}",
                    width=250,
                )
                said[field] = tuple(picked) or None
        else:
            said |= {"train_values": None, "test_values": None}
    with st.container(horizontal=True):
        said["key"] = _select_column(
            "Column with a lasting name",
            names,
            options.key,
            f"{key}-key",
            width=250,
            help="A name of each example that stays when the data grows, such as an id. Without "
            "one, examples are told apart by their content.",
        )
        said["truth"] = _select_column(
            "Column with the truth",
            names,
            options.truth,
            f"{key}-truth",
            width=250,
            help="What is truly right, where that is known. It is kept apart and only used to "
            "evaluate; no page of the review shows it.",
        )
    return said | _draw_status(found, names, key)


def _draw_status(found: Preview, names: list[str], key: str) -> dict[str, Any]:
    """Draw the column that says whether a row's label holds, and with which values."""
    options = found.options
    with st.container(horizontal=True):
        status = _select_column(
            "Column that says whether a label holds",
            names,
            options.status,
            f"{key}-status",
            width=250,
            help="Annotation tools note there that an answer was rejected, ignored or cancelled. "
            "Rows with other values than those chosen are left out; choose all to take every row.",
        )
        if status is None:
            return {"status": None, "status_values": None}
        current = options.status_values if status == options.status else None
        picked = st.multiselect(
            "Values with which a row is taken",
            list(dict.fromkeys([*(current or ()), *_examples_of(found.columns, status)])),
            default=list(current or ()),
            accept_new_options=True,
            placeholder="Found out",
            key=f"{key}-{status}-status-values",
            width=250,
        )
    return {"status": status, "status_values": tuple(picked) or None}


def _select_column(
    label: str,
    names: list[str],
    current: str | None,
    key: str,
    *,
    width: int | str = "stretch",
    help: str | None = None,
) -> str | None:
    """Draw a choice among the columns or none of them."""
    if key not in st.session_state:
        st.session_state[key] = current if current in names else None
    return st.selectbox(
        label,
        names,
        index=None,
        placeholder=NO_COLUMN,
        key=key,
        width=width,  # type: ignore[arg-type]
        help=help,
    )


def _examples_of(columns: Sequence[Column], name: str) -> list[str]:
    return next((list(column.examples) for column in columns if column.name == name), [])


def _draw_arrays(found: Preview, key: str) -> dict[str, Any]:
    """Draw which arrays of an archive hold the answers, and what else is known."""
    options = found.options
    answer = "target" if found.task == "regression" else "label"
    boxes = {
        answer: ("Array with what is to be predicted", found.target),
        "truth": ("Array with the truth", "truth_train"),
        "key": ("Array with lasting names", "ids"),
    }
    said: dict[str, Any] = {}
    with st.container(horizontal=True):
        for name, (label, example) in boxes.items():
            typed = st.text_input(
                label,
                value=getattr(options, name) or "",
                key=f"{key}-{name}-array",
                placeholder=example,
                width=250,
            )
            said[name] = typed.strip() or None
    return said


def _draw_classes(found: Preview, key: str) -> dict[str, Any]:
    """Draw the classes' names, for labels that are numbers."""
    options = found.options
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = st.text_input(
            "Names of the classes",
            value=join_names(options.classes or ()),
            key=f"{key}-classes",
            placeholder="World,Sports,Business,Tech",
            help="If the labels are numbers: what they mean, in their order, separated by commas.",
            width=420,
        )
        first = st.selectbox(
            "The first class is",
            (0, 1),
            index=None,
            placeholder="Found out",
            key=f"{key}-first-class",
            width=150,
        )
    classes = split_names(names) if names.strip() else None
    return {"classes": classes, "first_class": first if classes else None}


def _draw_folders(found: Preview, key: str) -> dict[str, Any]:
    """Draw which folders are classes, and which are for training and testing."""
    options = found.options
    boxes = {
        "classes": ("Folders that are classes", "cat,dog"),
        "train_values": ("Folders to train with", "train"),
        "test_values": ("Folders to test with", "test"),
    }
    said: dict[str, Any] = {}
    with st.container(horizontal=True):
        for name, (label, example) in boxes.items():
            typed = st.text_input(
                label,
                value=join_names(getattr(options, name) or ()),
                key=f"{key}-{name}-folders",
                placeholder=example,
                help="Names of folders, separated by commas; empty to have them found out.",
                width=250,
            )
            said[name] = split_names(typed) if typed.strip() else None
    return said


def _draw_merging(found: Preview, key: str) -> dict[str, Any]:
    """Draw whether names that differ in spelling alone become one class."""
    merge = st.checkbox(
        "Merge spellings of a name",
        value=found.options.merge_twins,
        key=f"{key}-merge-twins",
        help="Make one class of names that differ in capitals, blanks, hyphens, invisible "
        "characters or look-alike letters alone; the most frequent spelling stays.",
    )
    return {"merge_twins": merge}


def _draw_numbers(found: Preview, key: str) -> dict[str, Any]:
    options = found.options
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = st.number_input(
            "Share to test with",
            min_value=0.01,
            max_value=0.9,
            value=options.test_share,
            step=0.05,
            key=f"{key}-share",
            help="Where the data itself does not tell train from test.",
            width=170,
        )
        seed = st.number_input(
            "Seed", min_value=0, value=options.seed, step=1, key=f"{key}-seed", width=120
        )
        plant = st.number_input(
            "Planted errors",
            min_value=0.0,
            max_value=0.5,
            value=options.plant,
            step=0.05,
            key=f"{key}-plant",
            help="Share of the train examples to label wrongly on purpose, to try the tool out: "
            "the truth is kept for the evaluation. Leave it at 0 for real work.",
            width=170,
        )
    return {"test_share": float(share), "seed": int(seed), "plant": float(plant)}
