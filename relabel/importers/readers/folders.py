"""Folders of images or of text files, one folder a class, with or without folders of splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from relabel.importers.base import BaseSource
from relabel.importers.columns.column_names import PICTURES, is_sidecar
from relabel.importers.columns.values import MAX_NAME, RefusedError, check_length, check_text, show
from relabel.importers.files.encoding import (
    SAMPLED,
    decode_marked,
    describe_legacy,
    find_legacy,
    is_text,
)
from relabel.importers.files.trees import Tree, TreeFile, open_tree
from relabel.importers.options import ImportOptions
from relabel.importers.readers.annotations.detection_folders import refuse_detection
from relabel.importers.readers.folder_layouts import Folders, find_layout
from relabel.importers.records import EncodedImage, Problem, SourceRecord
from relabel.text import Kind, Split, Task, counted

_LOOKED_AT = 2000  # names of files
_OPENED = 20
_SAMPLED_FILES, _SAMPLED_BYTES = 300, 64_000_000
# Text that is no example: tables, settings, programs and what is read by a program.
_NO_TEXTS = {
    *(".csv", ".tsv", ".tab", ".psv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".py"),
    *(".ipynb", ".log", ".svg"),
}
_WESTERN = "cp1252"


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
        if options.classes is None:  # whoever says what the classes are, is believed
            refuse_detection(self._tree)
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
        """Check that a file is neither without a class nor an answer for another file."""
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
    """Report tables that lie in or beside the folders and are not read."""
    if not tables:
        return []
    shown = ", ".join(tables[:3]) + (", …" if len(tables) > 3 else "")
    return [
        f"Classes are the folders' names; what a table says is left out: {shown}. If one says "
        "which file is of which class, import that table."
    ]


def _describe_passed(passed: Mapping[str, int], num_sidecars: int) -> list[str]:
    """Describe what was passed over, because systems and programs leave it in folders."""
    found = {**passed, **({"beside pictures (.xmp, .aae)": num_sidecars} if num_sidecars else {})}
    if not found:
        return []
    listed = ", ".join(f"{name} ({number:,})" for name, number in sorted(found.items())[:8])
    total = counted(sum(found.values()), "file")
    return [f"Passed over {total} of systems and programs: {listed}."]


class ImageFolderSource(ClassFolderSource):
    """Images whose class is the name of their folder."""

    format = "image-folder"
    kind: Kind = "image"
    layout = "one folder of images for each class: cat/1.jpg, dog/2.jpg"

    def _read_content(self, file: TreeFile) -> dict[str, Any]:
        return {"image": EncodedImage(file.read())}


class TextFolderSource(ClassFolderSource):
    """Texts, a file each, whose class is the name of their folder."""

    format = "text-folder"
    kind: Kind = "text"
    layout = "one folder of text files for each class: good/1.txt, bad/2.txt"

    def __init__(self, path: Path, options: ImportOptions) -> None:
        super().__init__(path, options)
        self._encoding = options.encoding
        # Whatever is not UTF-8 is taken to be in one other encoding.
        self._other = _WESTERN
        foreign = b"" if self._encoding else self._sample_others()
        if foreign:
            found = find_legacy(foreign)
            self._other = found or _WESTERN
            people = describe_legacy(found) if found else "Western European"
            self.notes = (
                *self.notes,
                f"Encoding: {self._other} ({people}) where a file is not UTF-8. If letters look "
                "wrong, name another one with --encoding.",
            )

    def _read_content(self, file: TreeFile) -> dict[str, Any]:
        text = self._decode(file.read()).replace("\r\n", "\n").replace("\r", "\n").strip()
        if not text:
            raise RefusedError("empty text", "The file is empty. Write its text into it.")
        check_text(text, "The file")
        check_length(text)
        return {"text": text}

    def _decode(self, data: bytes) -> str:
        if self._encoding is not None:
            try:
                return data.decode(self._encoding, "surrogateescape")
            except UnicodeError as error:
                raise RefusedError(
                    "wrong encoding",
                    f"The file is not {self._encoding}: {error}. Save it as UTF-8, or name its "
                    "encoding with --encoding.",
                ) from error
        try:
            return decode_marked(data)
        except UnicodeDecodeError:
            return data.decode(self._other, "surrogateescape")

    def _sample_others(self) -> bytes:
        """Return lines with foreign letters of the first files that are not UTF-8."""
        sample, num_bytes = b"", 0
        for data in islice(_read_some(self._tree.files()), _SAMPLED_FILES):
            num_bytes += len(data)
            try:
                decode_marked(data)
            except UnicodeDecodeError:
                sample += b"".join(line + b"\n" for line in data.split(b"\n") if not line.isascii())
            if num_bytes > _SAMPLED_BYTES or len(sample) > SAMPLED:
                break
        return sample[:SAMPLED]


def holds_texts(path: Path) -> bool:
    """Return whether a folder or archive has text files in its folders rather than images.

    Raises:
        InputError: If it is an archive that is damaged.
    """
    texts = opened = 0
    for file in islice(open_tree(path).files(), _LOOKED_AT):
        suffix = PurePosixPath(file.name).suffix.lower()
        if suffix in PICTURES:
            return False
        if len(file.parts) > 1 and suffix not in _NO_TEXTS and opened < _OPENED:
            opened += 1
            texts += any(is_text(data[:4096]) for data in _read_some(iter([file])))
    return 2 * texts > opened


def _read_some(files: Iterator[TreeFile]) -> Iterator[bytes]:
    """Yield what is in the files of folders; what cannot be read is told when all are read."""
    for file in files:
        if len(file.parts) > 1 and not file.is_linked_folder:
            try:
                data = file.read()
            except RefusedError:
                continue
            yield data
