"""Whether what stands in a class's place is one: pictures and masks, parts, unlabelled files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tracin_core.errors import InputError
from tracin_core.sources.folder_words import (
    is_about_files,
    is_container,
    is_doubtful,
    is_fold,
    is_of_thumbnails,
    is_unlabelled,
    role_of,
)
from tracin_core.sources.labels import sort_names
from tracin_core.sources.values import show
from tracin_core.terms import Split

Chain = tuple[str, ...]
# A chain of folders from the class on, with the split it is in.
Placed = Collection[tuple[Split | None, Chain]]
_SHOWN = 5


def check_are_classes(
    placed: Placed, named: Collection[str], tables: Iterable[str], expected: str
) -> None:
    """See that the folders in the classes' places are not all something else.

    Args:
        placed: The folders of files.
        named: Classes that the person named, which are believed.
        tables: Files that look like tables, for the message.
        expected: How people have folders.

    Raises:
        InputError: If they are pictures and masks, splits or parts of a data set without classes.
    """
    names = {chain[0] for _, chain in placed if chain}
    if names & set(named):
        return
    roles = {role_of(name) for name in names if not is_unlabelled(name)}
    shown = ", ".join(map(show, sort_names(names)[:_SHOWN]))
    found = ""
    if "about" in roles and len(roles) > 1 and "" not in roles:
        found = "look like pictures with masks, boxes or other answers for each of them"
    elif roles == {"split"} and len(names) > 1:
        found = "say what is for training and testing, and hold no folders of classes"
    elif all(map(is_fold, names)) and len(names) > 1 and _are_flat(placed):
        found = "are called like parts of one data set, and hold no folders of classes"
    elif all(is_container(name) or is_unlabelled(name) for name in names):
        found = "are called like folders of any files"
    if not found:
        return
    beside = ", ".join(tables)
    raise InputError(
        f"The folders {shown} {found}. Expected {expected}. If a table says which file is of "
        f"which class, import that table{f' ({beside})' if beside else ''}. If they are the "
        f"classes indeed, name them with --classes: {','.join(sort_names(names)[:_SHOWN])}"
    )


def _are_flat(placed: Placed) -> bool:
    """Tell whether all files lie directly in the folders in the classes' places."""
    return all(len(chain) < 2 for _, chain in placed)


def find_no_classes(placed: Placed, named: Collection[str]) -> dict[str, str]:
    """Return the folders in a class's place that are none, each with the reason.

    A folder such as "images" that is in the test part alone holds pictures without a class, as in
    Tiny ImageNet.
    """
    trained = {chain[0] for split, chain in placed if chain and split != "test"}
    names = {chain[0] for _, chain in placed if chain} - set(named)
    # Such a folder repeats the others: masks/cat beside cat.
    again = {
        chain[0]
        for _, chain in placed
        if len(chain) > 1 and is_about_files(chain[0]) and chain[1] in names - {chain[0]}
    }
    reasons = {}
    for name in names:
        if name in again or (is_of_thumbnails(name) and len(names) > 2):
            reasons[name] = "is called like one of masks or small copies of the other pictures"
        if is_unlabelled(name):
            reasons[name] = "says that its files have no label"
        elif is_container(name) and name not in trained:
            reasons[name] = "names no class, and no such folder is for training"
    return reasons


def find_masks(placed: Placed) -> frozenset[str]:
    """Return the folders below classes that hold masks of the pictures beside them."""
    inside: dict[str, set[str]] = {}
    for _, chain in placed:
        if chain:
            inside.setdefault(chain[0], set()).add(chain[1] if len(chain) > 1 else "")
    found: set[str] = set()
    for names in inside.values():
        if "" in names or any(is_container(name) for name in names):
            found |= {name for name in names if name and is_about_files(name)}
    return frozenset(found)


def note_without_classes(placed: Placed, no_classes: Collection[str]) -> list[str]:
    """Tell that the part for testing is left out, because none of its folders is a class."""
    tested = {chain[0] for split, chain in placed if split == "test" and chain}
    if not tested or tested - set(no_classes):
        return []
    return [
        "What is for testing lies in no folders of classes "
        f"({', '.join(map(show, sort_names(tested)[:_SHOWN]))}), and is left out. If a table says "
        "the classes of these pictures, import that table into the project as well."
    ]


def note_doubtful(chains: Iterable[Chain], named: Collection[str]) -> list[str]:
    """Tell of classes whose names may mean that the class is not known."""
    names = sort_names({chain[0] for chain in chains} - set(named))
    odd = [name for name in names if is_doubtful(name)]
    if not odd or len(odd) == len(names):
        return []
    others = ",".join(name for name in names if name not in odd)
    way = f": {others}" if len(others) <= 60 else ""
    return [
        f"Class {', '.join(map(show, odd[:_SHOWN]))}: if that is no class or means that it is not "
        f"known, leave these files out by naming the other classes with --classes{way}."
    ]


def note_folders_below(
    chains: Collection[Chain], masks: Collection[str], *, has_splits: bool
) -> list[str]:
    """Tell that folders inside those of classes are merged, if they may be the classes."""
    inside: dict[str, set[str]] = {}
    for chain in chains:
        if len(chain) > 1 and chain[1] not in masks and not is_container(chain[1]):
            inside.setdefault(chain[0], set()).add(chain[1])
    merged = {top: names for top, names in inside.items() if names != {top}}
    if not merged:
        return []
    return [_describe_merged(merged, sort_names({c[0] for c in chains}), has_splits)]


def _describe_merged(
    merged: Mapping[str, Collection[str]], classes: Collection[str], has_splits: bool
) -> str:
    total = sum(map(len, merged.values()))
    top = sort_names(merged)[0]
    shown = ", ".join(map(show, sort_names(merged[top])[:3]))
    listed = ",".join(classes)
    way = ""
    if not has_splits and len(listed) <= 120:
        way = (
            " If the inner folders are the classes, name the outer ones with --train-values: "
            f"{listed}."
        )
    return (
        f"Folders inside those of the classes belong to them: {total:,} in all, {show(top)} has "
        f"{shown}{', …' if len(merged[top]) > 3 else ''}.{way}"
    )
