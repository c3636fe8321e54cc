"""Data sets saved by Hugging Face's ``datasets``: a folder of Arrow files, or Parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relabel.importers.files.encoding import unreadable
from relabel.importers.options import ImportOptions
from relabel.importers.readers.parquet import ColumnarReader, FileKind
from relabel.importers.readers.table import TableSource
from tracin_core.errors import InputError
from tracin_core.files import check_ordinary

_LARGEST_JSON = 64 * 2**20  # bytes; features with the names of all classes take some kilobytes
# As the hub names its files: train-00000-of-00003.parquet
_SHARD = re.compile(r"(?P<split>.+?)-\d{3,6}-of-\d{3,6}(-[0-9a-f]+)?\.parquet")


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder was written by ``save_to_disk``, or holds Parquet files."""
    names = ("dataset_dict.json", "state.json", "dataset_info.json")
    return path.is_dir() and (
        any((path / name).is_file() for name in names) or bool(_find_parquet(path))
    )


def open_dataset(path: Path, options: ImportOptions) -> TableSource:
    """Open a saved data set.

    Args:
        path: Folder of ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``; a Parquet
            file, or a folder of such, as ``to_parquet`` and the hub write them.
        options: What the person says.

    Raises:
        InputError: If it is none of these, or damaged.
    """
    if path.is_file():
        reader = ColumnarReader({"": [path]}, path.parent, kind="parquet")
        return TableSource(reader, options, "huggingface")
    files, kind, features = _find_files(path)
    reader = ColumnarReader(files, path, kind=kind, features=features)
    return TableSource(reader, options, "huggingface")


def _find_files(path: Path) -> tuple[dict[str, list[Path]], FileKind, Mapping[str, Any] | None]:
    """Return the data files by split, their kind, and the features where a file has them."""
    if (path / "dataset_dict.json").is_file():
        splits = _read_json(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not splits:
            raise _unexpected(path / "dataset_dict.json", "a list of splits")
        folders = {str(name): _inside(path, str(name)) for name in splits}
        files = {name: _arrow_files(folder) for name, folder in folders.items()}
        return files, "saved", _features(next(iter(folders.values())))
    _check_is_no_cache(path)
    if (path / "state.json").is_file() or (path / "dataset_info.json").is_file():
        return {"": _arrow_files(path)}, "saved", _features(path)
    parquet = _find_parquet(path)
    if parquet:
        return parquet, "parquet", None
    raise InputError(
        f"{path} is no saved data set: it has no dataset_dict.json, no state.json and no Parquet "
        "files. Expected a folder that `dataset.save_to_disk(path)` wrote, or Parquet files."
    )


def _check_is_no_cache(path: Path) -> None:
    """Check that a folder was saved, rather than left by loading a data set.

    Raises:
        InputError: If it is the library's cache.
    """
    files = sorted(file.name for file in path.glob("*.arrow"))
    if files and not (path / "state.json").is_file():
        raise InputError(
            f"{path} is a cache of the library `datasets` ({', '.join(files[:3])}), which its "
            "versions lay out in different ways. Expected a saved data set: load it as before, "
            "call `dataset.save_to_disk(folder)`, and import that folder."
        )


def _find_parquet(path: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of a folder, or of the only folder in it with some, by split.

    The hub keeps them in ``data``, or in a folder called like the configuration.
    """
    below = sorted({file.parent for file in _list_files(path, "*/*.parquet")})
    named = [path / "data"] if path / "data" in below else below
    if len(named) > 1 and not _list_files(path, "*.parquet"):
        names = " and ".join(repr(folder.name) for folder in named[:5])
        raise InputError(
            f"In {path} {names} hold Parquet files, which are several data sets. Expected one. "
            "Name the folder of one of them."
        )
    for folder in (path, *named[:1]):
        found = sorted(_list_files(folder, "*.parquet")) if folder.is_dir() else []
        if found:
            splits: dict[str, list[Path]] = {}
            for file in found:
                shard = _SHARD.fullmatch(file.name)
                splits.setdefault(shard["split"] if shard else file.stem, []).append(file)
            # Files without the hub's names are parts of one table rather than splits.
            is_named = all(_SHARD.fullmatch(file.name) for file in found) or any(
                name.startswith(("train", "test")) for name in splits
            )
            return splits if is_named else {"": found}
    return {}


def _list_files(folder: Path, pattern: str) -> list[Path]:
    """Return the Parquet files of a folder; what says something about pictures is none of them."""
    return [file for file in folder.glob(pattern) if file.name != "metadata.parquet"]


def _arrow_files(folder: Path) -> list[Path]:
    """Return the data files that ``state.json`` names."""
    state = _read_json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise InputError(
            f"The data set in {folder} was saved as a selection of another one. Expected whole "
            "rows. Save it with `dataset.flatten_indices().save_to_disk(path)`."
        )
    entries = state.get("_data_files")
    if not isinstance(entries, list) or not entries:
        raise _unexpected(folder / "state.json", "a list of data files")
    try:
        return [_inside(folder, str(entry["filename"])) for entry in entries]
    except (TypeError, KeyError) as error:
        raise _unexpected(folder / "state.json", "a file name for each data file") from error


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(
            f"The data set in {folder} names {name!r}, which lies outside it. Expected files "
            "inside the folder. Save the data set again."
        )
    return path


def _features(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "dataset_info.json"
    if not path.is_file():
        return None
    features = _read_json(path).get("features")
    return features if isinstance(features, dict) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        check_ordinary(path, "a JSON file")
        if path.stat().st_size > _LARGEST_JSON:
            raise _unexpected(path, f"at most {_LARGEST_JSON:,} bytes of JSON")
        found = json.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise _unexpected(path, "JSON (it is nested too deeply)") from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise _unexpected(path, f"JSON ({error})") from error
    if not isinstance(found, dict):
        raise _unexpected(path, "a JSON object")
    return found


def _unexpected(path: Path, expected: str) -> InputError:
    return InputError(
        f"{path} does not hold {expected}, as `save_to_disk` writes it. Expected an undamaged "
        "folder: save or download the data set again."
    )
