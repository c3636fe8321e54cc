"""The files that a project was imported from: found again, and proven to be the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from relabel.archives import is_tar, is_zip
from relabel.errors import WorkspaceError
from relabel.exporters.exported import Exported
from relabel.importers.files.shared import measure_files
from relabel.importers.options import ImportOptions
from relabel.importers.preview import open_recalled
from relabel.importers.readers.table import TableSource
from tracin_core.errors import ConfigurationError, InputError
from tracin_core.files import expand_path, naming

_OTHERS = "Choose another form, such as csv, which holds every example with its label"


@dataclass(frozen=True, kw_only=True)
class OwnSource:
    """A person's file, open, or several that hold one table.

    Attributes:
        table: Its rows.
        files: Where they lie, in the order of the rows.
        name: What they are called together.
        number: Of the import, from 1.
        is_proven: Whether it is known to be what was imported, byte for byte.
        is_alone: Whether all examples of the project come from it.
    """

    table: TableSource
    files: tuple[Path, ...]
    name: str
    number: int
    is_proven: bool
    is_alone: bool

    @property
    def column(self) -> str:
        """The column with the answer."""
        return self.table.options.label or self.table.options.target or ""


def name_ending(settings: Mapping[str, Any], number: int | None) -> str:
    """Return the ending of the imported file's name, without the dot; "data" where it has none."""
    try:
        _, entry = _choose(settings, number)
    except ConfigurationError:
        return "data"
    name = str((entry.get("file") or {}).get("name") or Path(str(entry.get("path", ""))).name)
    parts = name.split(".")[1:][-2:] if name.endswith(".gz") else name.split(".")[1:][-1:]
    # An older version kept nothing of a folder with several files, which come as an archive.
    return ".".join(parts) or ("zip" if entry.get("format") == "huggingface" else "data")


def list_imports(settings: Mapping[str, Any]) -> list[str]:
    """Return where each import of a project came from, in their order."""
    return [str(entry.get("path", "")) for entry in settings.get("imports", ())]


def open_own(exported: Exported) -> OwnSource:
    """Open the file that a project was imported from.

    Raises:
        ConfigurationError: If there is none, or it is none whose rows hold the labels.
        WorkspaceError: If it is gone, or is another one now.
        InputError: If it cannot be read.
    """
    settings, own = exported.settings, exported.own
    number, entry = _choose(settings, own.number)
    path = expand_path(own.path if own.path is not None else Path(str(entry.get("path", ""))))
    if not path.exists():
        raise WorkspaceError(
            f"The imported file {path} is gone. Name the place where it is now with --source (on "
            f"History: its path), or bring it back there. {_OTHERS}."
        )
    known = entry.get("file")
    is_alone = path.is_file() and not (is_zip(path) or is_tar(path))
    if known is not None and is_alone:
        _check_same(path, known)  # before it is looked into: it may be anything
    remembered = entry.get("options", settings.get("options"))
    options = ImportOptions.from_json(remembered or {})
    if exported.kind == "image":
        options = replace(options, image_root=None)  # the pictures need not be there any more
    table = open_recalled(path, ImportOptions(), options)
    if not isinstance(table, TableSource) or not table.files:
        raise ConfigurationError(
            f"The project was imported from {path}, whose labels stand in no table that can be "
            f"given back. {_OTHERS}{', or image-folder' if exported.kind == 'image' else ''}."
        )
    files = table.files
    table.adopt_kinds({c["name"]: c["kind"] for c in settings.get("columns", ())})
    if known is not None and not is_alone:
        _check_same(path, known, files)
    return OwnSource(
        table=table,
        files=files,
        name=files[0].name if len(files) == 1 else f"{len(files)} files of {path.name}",
        number=number,
        is_proven=known is not None,
        is_alone=len(settings.get("imports", ())) == 1,
    )


def _choose(settings: Mapping[str, Any], number: int | None) -> tuple[int, Mapping[str, Any]]:
    """Return an import of a project, with its number."""
    imports = settings.get("imports", ())
    if not imports:
        raise ConfigurationError(
            f"The project was not imported from a file, so there is none to give back. {_OTHERS}."
        )
    if number is None and len(imports) > 1:
        listed = "; ".join(f"{place} {one}" for place, one in enumerate(list_imports(settings), 1))
        raise ConfigurationError(
            f"The project was imported from {len(imports)} files. Say with --import-number which "
            f"one: {listed}."
        )
    chosen = number or 1
    if not 0 < chosen <= len(imports):
        raise ConfigurationError(
            f"Found the import {chosen}. Expected one from 1 to {len(imports)}."
        )
    return chosen, imports[chosen - 1]


def _check_same(file: Path, known: Mapping[str, Any], files: tuple[Path, ...] = ()) -> None:
    with naming(file):
        found = measure_files(files or (file,))
    if (found["bytes"], found["sha256"]) != (known.get("bytes"), known.get("sha256")):
        raise WorkspaceError(
            f"{file} is not what was imported: it has {found['bytes']:,} bytes, that one "
            f"had {known.get('bytes')}, or others of as many. Name a copy of the imported "
            "file with --source; or import this one into a new project and the decisions there: "
            f"`relabel decisions`. {_OTHERS}."
        )


def refuse(found: str) -> InputError:
    """Return the error for a file that cannot be given back."""
    return InputError(f"{found} Nothing was written. {_OTHERS}.")
