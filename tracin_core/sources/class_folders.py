"""Files in folders, one folder a class, with or without folders for training and testing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tracin_core.numerals import counted
from tracin_core.sources.base import BaseSource
from tracin_core.sources.folder_layouts import Folders, find_layout
from tracin_core.sources.folder_words import is_sidecar
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.records import Problem, SourceRecord
from tracin_core.sources.trees import Tree, TreeFile, open_tree
from tracin_core.sources.values import MAX_NAME, RefusedError, check_text, show
from tracin_core.terms import Split, Task


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
            InputError: If there are no files in folders, or the folders are no classes.
        """
        self._tree = open_tree(path)
        folders = Folders(self._tree, pictures=self.kind == "image")
        notes: list[str] = []
        self._layout, self.options = find_layout(folders, options, self.layout, notes)
        if options.classes is not None:
            self.classes = options.classes
        self.num_records = folders.num_files
        self._pairs = _find_pairs(self._tree, folders.masks)
        notes += _describe_tables(folders.tables)
        self.notes = (*notes, *_describe_passed(self._tree.passed, folders.num_sidecars))

    def read(self) -> Iterator[SourceRecord | Problem]:
        """Yield the examples, by folder."""
        for file in self._tree.files():
            if self.kind == "image" and is_sidecar(file.name):
                continue
            try:
                split, label = self._place(file)
                content = self._read_content(file)
            except RefusedError as refused:
                yield Problem(None, file.name, str(refused), refused.what)
            else:
                yield SourceRecord(
                    row=file.number, where=file.name, label=label, split=split, **content
                )

    def places(self, rows: Collection[int]) -> Mapping[int, str]:
        """Return the names of some files, by listing them once more."""
        if not rows:
            return {}
        return {file.number: file.name for file in self._tree.files() if file.number in rows}

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
        # A link to a folder stands where a folder would.
        folders = file.parts if file.is_linked_folder else file.parts[:-1]
        found = self._layout.divide(folders)
        split = None
        if found is not None and found[0] is not None:
            split = self._find_split(found[0])
        if file.is_linked_folder:
            raise RefusedError(
                "link to a folder",
                "It is a link to a folder, which is not followed. Copy the folder there.",
            )
        if found is None or not found[1]:
            raise RefusedError(
                "in no class folder",
                "It lies in no folder of a class. Move it into the folder of its class.",
            )
        self._check_is_example(file, found[1])
        return split, self._check_class(found[1][0])

    def _find_split(self, folder: str) -> Split:
        split = (self._layout.splits or {}).get(folder)
        if split is None:
            found = f"Its folder {show(folder)} is" if folder else "It lies in a folder that is"
            raise RefusedError(
                "left out by its split",
                f"{found} neither for training nor for testing. "
                "--train-values and --test-values say which folders are.",
            )
        return split

    def _check_is_example(self, file: TreeFile, folders: tuple[str, ...]) -> None:
        """See that a file is neither without a class nor an answer for another file."""
        reason = self._layout.no_classes.get(folders[0])
        if reason is not None:
            raise RefusedError(
                "no class",
                f"Its folder {show(folders[0])} {reason}. If it is a class, name it with "
                "--classes beside the others; a table may say the class of these files.",
            )
        if self._layout.masks & set(folders[1:2]) or file.name in self._pairs:
            raise RefusedError(
                "mask of another picture",
                "It is called like a mask or another answer for a picture beside it, which is "
                "imported. Rename it if it is an example.",
            )

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


def _find_pairs(tree: Tree, masks: Mapping[str, list[str]]) -> frozenset[str]:
    """Return the pictures that are called like masks of others: "scan_mask.png", "scan.png"."""
    if not masks:
        return frozenset()
    found = {str(PurePosixPath(file.name).with_suffix("")) for file in tree.files()}
    return frozenset(name for stem, names in masks.items() if stem in found for name in names)


def _describe_tables(tables: Sequence[str]) -> list[str]:
    """Tell of tables that lie in or beside the folders and are not read."""
    if not tables:
        return []
    shown = ", ".join(tables[:3]) + (", …" if len(tables) > 3 else "")
    return [
        f"Classes are the folders' names; what a table says is left out: {shown}. If one says "
        "which file is of which class, import that table."
    ]


def _describe_passed(passed: Mapping[str, int], num_sidecars: int) -> list[str]:
    """Tell what was passed over, because systems and programs leave it in folders."""
    found = {**passed, **({"beside pictures (.xmp, .aae)": num_sidecars} if num_sidecars else {})}
    if not found:
        return []
    listed = ", ".join(f"{name} ({number:,})" for name, number in sorted(found.items())[:8])
    total = counted(sum(found.values()), "file")
    return [f"Passed over {total} of systems and programs: {listed}."]
