"""The layout of a folder tree: which folders are classes, which are splits, which are neither.

Folders in a class's place that hold masks, parts of the data or unlabelled files are refused or
reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from relabel.importers.columns.column_names import (
    NO_PICTURES,
    TEST_WORDS,
    TRAIN_WORDS,
    guess_split,
    is_about_files,
    is_beside_folders,
    is_container,
    is_doubtful,
    is_fold,
    is_of_thumbnails,
    is_sidecar,
    is_unlabelled,
    masked_stem,
    role_of,
    say_splits,
)
from relabel.importers.columns.labels import sort_names
from relabel.importers.columns.roles import choose_split_values
from relabel.importers.columns.values import show
from relabel.importers.files.trees import Tree
from relabel.importers.options import ImportOptions, OptionWithoutEffectError
from relabel.importers.scan import MAX_CLASSES, too_many_classes
from relabel.text import Split
from tracin_core.errors import InputError

_DEPTH = 8  # folders above a file that are looked at
_MAX_CHAINS = 20 * MAX_CLASSES
Chain = tuple[str, ...]
Chains = Collection[Chain]
# A chain of folders from the class on, with the split it is in.
Placed = Collection[tuple[Split | None, Chain]]
_SHOWN = 5


@dataclass(frozen=True)
class Layout:
    """How a tree's folders are to be read.

    Attributes:
        prefix: Folders around everything, as archives often have one.
        splits: Which split each folder is that says one; None where no folder does.
        is_below: Whether the folders of the splits lie in those of the classes.
        again: Folders in those that only say the split once more, as ``seg_train/seg_train``.
        folds: Folders of parts of the data, with the classes in them.
        no_classes: Why a folder in a class's place is none.
        masks: Folders below a class whose files are answers for pictures beside them.
    """

    prefix: Chain = ()
    splits: Mapping[str, Split | None] | None = None
    is_below: bool = False
    again: frozenset[tuple[str, str]] = frozenset()
    folds: frozenset[str] = frozenset()
    no_classes: Mapping[str, str] = field(default_factory=dict)
    masks: frozenset[str] = frozenset()

    def divide(self, folders: Chain) -> tuple[str | None, Chain] | None:
        """Return the folder of the split, None where none says it, and those from the class on.

        Args:
            folders: That a file lies in, the outermost first.

        Returns:
            None for a file that lies beside the folders around everything.
        """
        if folders[: len(self.prefix)] != self.prefix:
            return None
        rest, split = folders[len(self.prefix) :], None
        if self.splits is not None and not self.is_below and rest:
            split, rest = rest[0], rest[2 if rest[:2] in self.again else 1 :]
        if rest and rest[0] in self.folds:
            rest = rest[1:]
        if self.splits is not None and self.is_below and rest:
            split, rest = (rest[1] if len(rest) > 1 else ""), (rest[0], *rest[2:])
        return split, rest


class Folders:
    """The folders of a tree, gathered by listing it once.

    Attributes:
        root: Of the tree.
        num_files: In the whole tree.
        num_links: Links to folders among them.
        tables: The first files that look like tables, by name.
        empty: Folders without a file, where the tree knows them.
        masks: Pictures that are called like masks, by the picture that each would be of.
        num_sidecars: Files that programs keep beside pictures.
    """

    def __init__(self, tree: Tree, *, pictures: bool) -> None:
        """List the files.

        Args:
            tree: The files.
            pictures: Whether only pictures make a folder a class, as far as names tell.
        """
        self.root: Path = tree.root
        self.num_files = self.num_links = 0
        self.num_sidecars = 0
        self.tables: list[str] = []
        self.masks: dict[str, list[str]] = {}
        self._depth = _DEPTH
        found: set[Chain] = set()
        others: set[Chain] = set()
        for file in tree.files():
            self.num_files += 1
            self.num_links += file.is_linked_folder
            path = PurePosixPath(file.name)
            suffix = path.suffix.lower()
            if len(self.tables) < 5 and is_beside_folders(file.name):
                self.tables.append(file.name)
            if pictures and is_sidecar(file.name):
                self.num_sidecars += 1
            elif pictures and (stem := masked_stem(path.stem)):
                self.masks.setdefault(str(path.with_name(stem)), []).append(file.name)
            if file.parts:
                is_other = pictures and suffix in NO_PICTURES
                (others if is_other else found).add(file.parts[:-1][: self._depth])
            if len(found) + len(others) > _MAX_CHAINS:
                found, others = self._shorten(found, others)
        # Where no file is called like a picture, every one may be one.
        self.chains = found if any(found) else found | others
        self.empty = sort_names(tree.empty)

    def below(self, prefix: Chain) -> set[Chain]:
        """Return the chains below some folders, without those."""
        start = len(prefix)
        return {chain[start:] for chain in self.chains if chain[:start] == prefix} - {()}

    def _shorten(self, found: set[Chain], others: set[Chain]) -> tuple[set[Chain], set[Chain]]:
        """Look at fewer folders above each file, so that what is kept stays small."""
        while len(found) + len(others) > _MAX_CHAINS:
            self._depth -= 1
            if not self._depth:
                raise too_many_classes(f"more than {len(found) + len(others):,} folders as")
            found = {chain[: self._depth] for chain in found}
            others = {chain[: self._depth] for chain in others}
        return found, others


def find_layout(
    folders: Folders, options: ImportOptions, expected: str, notes: list[str]
) -> tuple[Layout, ImportOptions]:
    """Find out which folders are classes and which are splits.

    Args:
        folders: Of the tree.
        options: What the person says.
        expected: How people have them, for the message that they are not so here.
        notes: Told what was found.

    Returns:
        The layout, and the options with the folders of the splits.

    Raises:
        InputError: If there are no folders of classes.
        OptionWithoutEffectError: If folders of splits are named that are not there.
    """
    prefix: Chain = ()
    while _is_wrapper(chains := folders.below(prefix), options):
        prefix = (*prefix, next(iter(chains))[0])
    if not chains:
        raise _no_folders(folders, expected)
    layout, said = Layout(prefix), options
    values = _find_split_folders(chains, options)
    if values is not None:
        tops, is_below = values
        train, test = choose_split_values(tops, options, notes)
        splits: dict[str, Split | None] = dict.fromkeys(tops)
        splits |= dict.fromkeys(test, "test") | dict.fromkeys(train, "train")  # type: ignore[arg-type]
        again = frozenset() if is_below else _find_again(chains)
        layout = replace(layout, splits=splits, is_below=is_below, again=again)
        options = replace(options, train_values=train, test_values=test)
    elif options.train_values is not None or options.test_values is not None:
        raise _no_such_splits(chains, options)
    placed = _place(layout, chains, prefix)
    named = frozenset(options.classes or ())
    folds = _find_folds({chain for _, chain in placed}, named)
    if folds:
        layout = replace(layout, folds=folds)
        notes.append(_describe_folds(folds))
        placed = _place(layout, chains, prefix)
    if not any(chain for _, chain in placed):
        is_said = said.train_values is not None or said.test_values is not None
        raise _no_such_splits(chains, said) if is_said else _no_folders(folders, expected)
    check_are_classes(placed, named, folders.tables, expected)
    no_classes = find_no_classes(placed, named)
    masks = find_masks(placed)
    kept = {chain for _, chain in placed if chain and chain[0] not in no_classes}
    notes += note_without_classes(placed, no_classes)
    notes += note_doubtful(kept, named)
    notes += note_folders_below(kept, masks, has_splits=layout.splits is not None)
    if folders.empty:
        shown = ", ".join(map(show, folders.empty[:5]))
        notes.append(f"Without a file, and so no class: the folder {shown}.")
    return replace(layout, no_classes=no_classes, masks=masks), options


def _place(layout: Layout, chains: Chains, prefix: Chain) -> set[tuple[Split | None, Chain]]:
    """Return the split and the folders from the class on, of all chains; unused splits aside."""
    placed: set[tuple[Split | None, Chain]] = set()
    for chain in chains:
        found = layout.divide((*prefix, *chain))
        if found is None:
            continue
        split = None if layout.splits is None else layout.splits.get(found[0] or "")
        if layout.splits is None or split is not None:
            placed.add((split, found[1]))
    return placed


def _no_folders(folders: Folders, expected: str) -> InputError:
    links = (
        f", {folders.num_links:,} of them links to folders, which are not followed (copy the "
        "folders there),"
        if folders.num_links
        else ""
    )
    tables = f" It is perhaps {', '.join(folders.tables)}." if folders.tables else ""
    return InputError(
        f"{folders.root} has {folders.num_files:,} files{links} and no folder of a class. "
        f"Expected {expected}. If a table says which file is of which class, import that table."
        f"{tables}"
    )


def _no_such_splits(chains: Chains, options: ImportOptions) -> OptionWithoutEffectError:
    names = options.train_values or options.test_values or ()
    switch = "train_values" if options.train_values is not None else "test_values"
    tops = sort_names({chain[0] for chain in chains})
    return OptionWithoutEffectError(
        f"There are no folders {', '.join(names)} with folders of classes in them, only: "
        f"{', '.join(map(show, tops[:10]))}. Name others with --{switch.replace('_', '-')}, or "
        "leave it out.",
        (switch,),
    )


def _is_wrapper(chains: set[Chain], options: ImportOptions) -> bool:
    """Return whether one folder, that is no split, is around everything.

    Files such as a README may lie beside the folders in it: as a class it would be the only one.
    """
    tops = {chain[0] for chain in chains}
    below = {chain[1] for chain in chains if len(chain) > 1}
    if len(tops) != 1 or (len(below) < 2 and any(len(chain) < 2 for chain in chains)):
        return False
    said = {*(options.train_values or ()), *(options.test_values or ())}
    return not {name.lower() for name in tops} & {*TRAIN_WORDS, *TEST_WORDS} and not tops & said


def _find_split_folders(
    chains: set[Chain], options: ImportOptions
) -> tuple[Collection[str], bool] | None:
    """Return the folders that say the split, and whether they lie below those of the classes."""
    tops = {chain[0] for chain in chains}
    below = {chain[1] for chain in chains if len(chain) > 1}
    said = {*(options.train_values or ()), *(options.test_values or ())}
    if said:
        return (tops, False) if tops & said else (below, True) if below & said else None
    if _are_splits(chains, tops):
        return tops, False
    return (below, True) if _are_splits_below(chains) else None


def _are_splits(chains: set[Chain], tops: set[str]) -> bool:
    """Return whether the first folders are for training and testing rather than classes."""
    # What has no label lies beside the splits, as in STL-10 and IMDB.
    lower = {name.lower() for name in tops if not is_unlabelled(name)}
    # A class may be called "train", so all folders must have such names, or both kinds be there.
    if _have_same_classes(chains):
        return True
    words = {*TRAIN_WORDS, *TEST_WORDS}
    both = bool(lower & set(TRAIN_WORDS)) and bool(lower & set(TEST_WORDS))
    is_deep = any(len(chain) > 1 for chain in chains)
    return is_deep and bool(lower & set(TRAIN_WORDS)) and (both or lower <= words)


def _are_splits_below(chains: set[Chain]) -> bool:
    """Return whether every class has folders for training or testing, and one has both."""
    inside: dict[str, set[str | None]] = {}
    for top, *rest in chains:
        inside.setdefault(top, set())
        if rest and say_splits([rest[0]]):
            inside[top].add(guess_split(rest[0]))
    all_have = all(inside.values()) and len(inside) > 1
    return all_have and any({"train", "test"} <= found for found in inside.values())


def _have_same_classes(chains: set[Chain]) -> bool:
    """Return whether folders such as "training_set" and "Test images" hold the same folders."""
    again = _find_again(chains)
    classes: dict[str | None, set[str]] = {"train": set(), "test": set()}
    for chain in chains:
        rest = chain[2 if chain[:2] in again else 1 :]
        classes.setdefault(guess_split(chain[0]), set()).update(rest[:1])
    return bool(classes["train"] & classes["test"])


def _find_again(chains: set[Chain]) -> frozenset[tuple[str, str]]:
    """Return the folders that are alone in that of a split and called like one."""
    found = set()
    for top in {chain[0] for chain in chains}:
        below = {chain[1:] for chain in chains if chain[0] == top} - {()}
        names = {chain[0] for chain in below}
        if len(names) == 1 and guess_split(top) and all(len(chain) > 1 for chain in below):
            (name,) = names
            found |= {(top, name)} if guess_split(name) == guess_split(top) else set()
    return frozenset(found)


def _find_folds(chains: Chains, named: Collection[str]) -> frozenset[str]:
    """Return the folders that are called like parts of the data and hold the same folders."""
    inside: dict[str, set[str]] = {}
    for chain in chains:
        if chain:
            inside.setdefault(chain[0], set()).update(chain[1:2])
    if len(inside) < 2 or not all(map(is_fold, inside)) or inside.keys() & set(named):
        return frozenset()
    common: dict[str, int] = {}
    for names in inside.values():
        for name in names:
            common[name] = common.get(name, 0) + 1
    return frozenset(inside) if any(number > 1 for number in common.values()) else frozenset()


def _describe_folds(folds: Collection[str]) -> str:
    names = sort_names(folds)
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return (
        f"Folders {shown} are parts of the data with the same classes in them, and are taken "
        f"together. To keep one of them for testing, name it with --test-values: {names[-1]}."
    )


def check_are_classes(
    placed: Placed, named: Collection[str], tables: Iterable[str], expected: str
) -> None:
    """Check that the folders in the classes' places are not all something else.

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
    """Return whether all files lie directly in the folders in the classes' places."""
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
    """Report that the part for testing is left out, because none of its folders is a class."""
    tested = {chain[0] for split, chain in placed if split == "test" and chain}
    if not tested or tested - set(no_classes):
        return []
    return [
        "What is for testing lies in no folders of classes "
        f"({', '.join(map(show, sort_names(tested)[:_SHOWN]))}), and is left out. If a table says "
        "the classes of these pictures, import that table into the project as well."
    ]


def note_doubtful(chains: Iterable[Chain], named: Collection[str]) -> list[str]:
    """Report classes whose names may mean that the class is not known."""
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
    """Report that folders inside those of classes are merged, if they may be the classes."""
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
