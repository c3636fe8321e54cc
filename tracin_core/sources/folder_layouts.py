"""How a tree's folders are to be read: which are classes, which say the split, which neither."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from tracin_core.errors import InputError
from tracin_core.sources.column_names import TEST_WORDS, TRAIN_WORDS, guess_split
from tracin_core.sources.folder_checks import (
    check_are_classes,
    find_masks,
    find_no_classes,
    note_doubtful,
    note_folders_below,
    note_without_classes,
)
from tracin_core.sources.folder_words import (
    NO_PICTURES,
    is_beside_folders,
    is_fold,
    is_sidecar,
    is_unlabelled,
    masked_stem,
    say_splits,
)
from tracin_core.sources.labels import sort_names
from tracin_core.sources.options import ImportOptions, OptionWithoutEffectError
from tracin_core.sources.split_values import choose_split_values
from tracin_core.sources.survey import MAX_CLASSES, too_many_classes
from tracin_core.sources.trees import Tree
from tracin_core.sources.values import show
from tracin_core.terms import Split

_DEPTH = 8  # folders above a file that are looked at
_MAX_CHAINS = 20 * MAX_CLASSES
Chain = tuple[str, ...]
Chains = Collection[Chain]


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
    """Tell whether one folder, that is no split, is around everything.

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
    """Tell whether the first folders are for training and testing rather than classes."""
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
    """Tell whether every class has folders for training or testing, and one has both."""
    inside: dict[str, set[str | None]] = {}
    for top, *rest in chains:
        inside.setdefault(top, set())
        if rest and say_splits([rest[0]]):
            inside[top].add(guess_split(rest[0]))
    all_have = all(inside.values()) and len(inside) > 1
    return all_have and any({"train", "test"} <= found for found in inside.values())


def _have_same_classes(chains: set[Chain]) -> bool:
    """Tell whether folders such as "training_set" and "Test images" hold the same folders."""
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
