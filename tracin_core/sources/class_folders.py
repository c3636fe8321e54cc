"""Files in folders, one folder a class, with or without folders for training and testing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracin_core.errors import InputError
from tracin_core.sources.base import BaseSource
from tracin_core.sources.column_names import TEST_WORDS, TRAIN_WORDS, guess_split
from tracin_core.sources.labels import sort_names
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Problem, SourceRecord
from tracin_core.sources.split_values import choose_split_values
from tracin_core.sources.survey import MAX_CLASSES, too_many_classes
from tracin_core.sources.trees import Tree, TreeFile, open_tree
from tracin_core.sources.values import MAX_NAME, RefusedError, check_text, show
from tracin_core.terms import Split, Task


@dataclass(frozen=True)
class Layout:
    """How a tree's folders are to be read.

    Attributes:
        prefix: Folders around everything, as archives often have one.
        splits: Which split each folder below is; None where classes come at once.
        again: Folders in those that only say the split once more, as ``seg_train/seg_train``.
    """

    prefix: tuple[str, ...] = ()
    splits: Mapping[str, Split | None] | None = None
    again: frozenset[tuple[str, str]] = frozenset()


class ClassFolderSource(BaseSource):
    """Files whose class is the name of their folder; a subclass says what is in a file.

    Attributes:
        layout: How people have them, for the message that they are not so here.
    """

    task: Task = "classification"
    layout: str

    def __init__(self, path: Path, options: ImportOptions) -> None:
        """Find out which folders are classes and which are splits.

        Raises:
            InputError: If there are no files in folders.
        """
        self._tree = open_tree(path)
        folders = _Folders(self._tree)
        notes: list[str] = []
        self._layout, self.options = _find_layout(folders, options, self.layout, notes)
        if options.classes is not None:
            self.classes = options.classes
        self.num_records = folders.num_files
        self.notes = tuple(notes)

    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield the examples, by folder."""
        for number, file in enumerate(self._tree.files()):
            try:
                split, label = self._place(file)
                content = self._read_content(file)
            except RefusedError as refused:
                yield Problem(None, file.name, str(refused), refused.what)
            else:
                yield SourceRecord(row=number, where=file.name, label=label, split=split, **content)

    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return the names of some files, by listing them once more."""
        if not rows:
            return {}
        files = enumerate(self._tree.files())
        return {number: file.name for number, file in files if number in rows}

    @abstractmethod
    def _read_content(self, file: TreeFile) -> dict[str, Any]:
        """Return what a file holds, as ``SourceRecord`` takes it.

        Raises:
            RefusedError: If it holds no example.
        """

    def _place(self, file: TreeFile) -> tuple[Split | None, str]:
        """Return the split and the class of a file, by its folders.

        Raises:
            RefusedError: If it is in none, or its path leads outside.
        """
        if not file.parts:
            raise RefusedError(
                "outside the data folder",
                "Its path leads out of the archive. Expected paths inside it. It is not read.",
            )
        parts, split = file.parts, None
        if parts[: len(self._layout.prefix)] == self._layout.prefix:
            parts = parts[len(self._layout.prefix) :]
        if self._layout.splits is not None and len(parts) > 1:
            split = self._find_split(parts[0])
            parts = parts[2 if parts[:2] in self._layout.again else 1 :]
        if file.is_linked_folder:
            raise RefusedError(
                "link to a folder",
                "It is a link to a folder, which is not followed. Copy the folder there.",
            )
        if len(parts) < 2:
            raise RefusedError(
                "in no class folder",
                "It lies in no folder of a class. Move it into the folder of its class.",
            )
        return split, self._check_class(parts[0])

    def _find_split(self, folder: str) -> Split:
        split = (self._layout.splits or {}).get(folder)
        if split is None:
            raise RefusedError(
                "left out by its split",
                f"Its folder {show(folder)} is neither for training nor for testing. "
                "--train-values and --test-values say which folders are.",
            )
        return split

    def _check_class(self, name: str) -> str:
        check_text(name, "The folder's name")
        if len(name) > MAX_NAME:
            raise RefusedError("unknown class", f"Its folder's name has {len(name)} characters.")
        if self.classes is not None and name not in self.classes:
            raise RefusedError(
                "unknown class",
                f"Its folder {show(name)} is none of the {len(self.classes)} classes that were "
                "named. Add it to --classes, or leave that option out.",
            )
        return name


class _Folders:
    """The first folders of a tree, gathered by listing it once.

    Attributes:
        num_files: In the whole tree.
        num_links: Links to folders among them.
        chains: The folders that files lie in, each by its first four names.
    """

    def __init__(self, tree: Tree) -> None:
        self.root = tree.root
        self.num_files = self.num_links = 0
        self.chains: set[tuple[str, ...]] = set()
        for file in tree.files():
            self.num_files += 1
            self.num_links += file.is_linked_folder
            if file.parts:
                self.chains.add(file.parts[:-1][:4])
            if len(self.chains) > 20 * MAX_CLASSES:
                raise too_many_classes(f"more than {len(self.chains):,} folders as")

    def below(self, prefix: tuple[str, ...]) -> set[tuple[str, ...]]:
        """Return the chains below some folders, without those."""
        start = len(prefix)
        return {chain[start:] for chain in self.chains if chain[:start] == prefix} - {()}


def _find_layout(
    folders: _Folders, options: ImportOptions, expected: str, notes: list[str]
) -> tuple[Layout, ImportOptions]:
    prefix: tuple[str, ...] = ()
    while _is_wrapper(chains := folders.below(prefix), options):
        prefix = (*prefix, next(iter(chains))[0])
    tops = {chain[0] for chain in chains}
    if not tops:
        links = (
            f", {folders.num_links:,} of them links to folders, which are not followed (copy the "
            "folders there),"
            if folders.num_links
            else ""
        )
        raise InputError(
            f"{folders.root} has {folders.num_files:,} files{links} and no folder of a class. "
            f"Expected {expected}. If a table says which file is of which class, import that table."
        )
    if not _are_splits(chains, options):
        if options.train_values is not None:
            raise InputError(
                f"There are no folders {', '.join(options.train_values)} with folders of classes "
                f"in them, only: {', '.join(map(show, sort_names(tops)[:10]))}. Name others with "
                "--train-values."
            )
        return Layout(prefix), options
    train, test = choose_split_values(tops, options, notes)
    splits: dict[str, Split | None] = dict.fromkeys(tops)
    splits |= dict.fromkeys(test, "test") | dict.fromkeys(train, "train")  # type: ignore[arg-type]
    return Layout(prefix, splits, _find_again(chains)), replace(
        options, train_values=train, test_values=test
    )


def _is_wrapper(chains: set[tuple[str, ...]], options: ImportOptions) -> bool:
    """Tell whether one folder, that is no split, is around everything.

    Files such as a README may lie beside the folders in it: as a class it would be the only one.
    """
    tops = {chain[0] for chain in chains}
    below = {chain[1] for chain in chains if len(chain) > 1}
    if len(tops) != 1 or (len(below) < 2 and any(len(chain) < 2 for chain in chains)):
        return False
    return not tops & {*TRAIN_WORDS, *TEST_WORDS, *(options.train_values or ())}


def _are_splits(chains: set[tuple[str, ...]], options: ImportOptions) -> bool:
    """Tell whether the first folders are for training and testing rather than classes."""
    tops = {chain[0] for chain in chains}
    if options.train_values is not None:
        return bool(tops & set(options.train_values))
    lower = {name.lower() for name in tops}
    # A class may be called "train", so all folders must have such names, or both kinds be there.
    if _have_same_classes(chains):
        return True
    words = {*TRAIN_WORDS, *TEST_WORDS}
    both = bool(lower & set(TRAIN_WORDS)) and bool(lower & set(TEST_WORDS))
    is_deep = any(len(chain) > 1 for chain in chains)
    return is_deep and bool(lower & set(TRAIN_WORDS)) and (both or lower <= words)


def _have_same_classes(chains: set[tuple[str, ...]]) -> bool:
    """Tell whether folders such as "training_set" and "Test images" hold the same folders."""
    again = _find_again(chains)
    classes: dict[str | None, set[str]] = {"train": set(), "test": set()}
    for chain in chains:
        rest = chain[2 if chain[:2] in again else 1 :]
        classes.setdefault(guess_split(chain[0]), set()).update(rest[:1])
    return bool(classes["train"] & classes["test"])


def _find_again(chains: set[tuple[str, ...]]) -> frozenset[tuple[str, str]]:
    """Return the folders that are alone in that of a split and called like one."""
    found = set()
    for top in {chain[0] for chain in chains}:
        below = {chain[1:] for chain in chains if chain[0] == top} - {()}
        names = {chain[0] for chain in below}
        if len(names) == 1 and guess_split(top) and all(len(chain) > 1 for chain in below):
            (name,) = names
            found |= {(top, name)} if guess_split(name) == guess_split(top) else set()
    return frozenset(found)
