"""A folder of text files, one folder a class."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from tracin_core.sources.class_folders import ClassFolderSource
from tracin_core.sources.legacy_encodings import SAMPLED, describe_legacy, find_legacy
from tracin_core.sources.options import ImportOptions
from tracin_core.sources.text_encoding import decode_marked, is_text
from tracin_core.sources.texts import check_length
from tracin_core.sources.trees import TreeFile, open_tree
from tracin_core.sources.values import RefusedError, check_text
from tracin_core.terms import Kind

_LOOKED_AT = 2000  # names of files
_OPENED = 20
_SAMPLED_FILES, _SAMPLED_BYTES = 300, 64_000_000
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
# Text that is no example: tables, settings, programs and what is read by a program.
_NO_TEXTS = {
    *(".csv", ".tsv", ".tab", ".psv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".py"),
    *(".ipynb", ".log", ".svg"),
}
_WESTERN = "cp1252"


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
    """Tell whether a folder or archive has text files in its folders rather than images.

    Raises:
        InputError: If it is an archive that is damaged.
    """
    texts = opened = 0
    for file in islice(open_tree(path).files(), _LOOKED_AT):
        suffix = PurePosixPath(file.name).suffix.lower()
        if suffix in _PICTURES:
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
