"""An archive with a table or a saved data set is unpacked: such files are read back and forth.

What is written lies inside one new folder, whatever the archive names: paths that lead outside,
links and devices are refused, and so is what unpacks to far more than its size.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from tracin_core.archives import DAMAGED, Member, is_zip, open_tar_members, open_zip_members
from tracin_core.errors import InputError
from tracin_core.files import is_of_content, naming
from tracin_core.sources.locating import SAVED, is_table, list_folder, list_wrappings, unwrap
from tracin_core.sources.torchvision_sets import find_dataset, is_dataset_path
from tracin_core.sources.trees import archive_explained, safe_parts
from tracin_core.sources.values import show

_CHUNK = 2**20  # bytes
_IMPOSSIBLE_NAMES = (
    *(errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL),
)


def needs_unpacking(path: Path) -> bool:
    """Tell whether an archive holds a table or a saved data set, beside folders or alone.

    What it is, is decided once it lies there as a folder, so that both are understood alike.

    Raises:
        InputError: If it is damaged, or unpacks to far too much.
    """
    parts = [found for member in _members(path) if (found := safe_parts(member.name))]
    if any(map(is_dataset_path, parts)):
        return True
    while parts and len({one[0] for one in parts}) == 1 and all(len(one) > 1 for one in parts):
        parts = [one[1:] for one in parts]
    if any(len(one) == 1 and (is_table(one[0]) or one[0] in SAVED) for one in parts):
        return True
    # A table in each of several folders: what it says of the pictures there.
    if sum(len(one) == 2 and is_table(one[1]) for one in parts) > 1:
        return True
    is_hub = any(len(one) == 2 and one[-1].endswith(".parquet") for one in parts)
    return is_hub or any(one[-1] == "state.json" for one in parts if len(one) == 2)


def unpack_archive(path: Path, target: Path) -> Path:
    """Unpack a zip or tar archive into a new folder, and return what is to be imported.

    Args:
        path: The archive; untrusted.
        target: The folder, which must not exist.

    Returns:
        The only table at the top, or the folder behind wrappings of one folder.

    Raises:
        InputError: If the archive is damaged, holds nothing or several tables, unpacks to far
            too much, or names files that would lie outside.
        OSError: If the disk is full.
    """
    for _ in _members(path):  # so that all sizes are known before anything is written
        pass
    count = 0
    for member in _members(path):
        parts = safe_parts(member.name)
        if parts is None:  # what systems add to every archive is no data
            continue
        if not parts or ":" in member.name or "\x00" in member.name or not member.is_plain:
            raise InputError(
                f"The archive names the file {show(member.name, 80)}, which would lie outside "
                "its folder or is a link. Expected plain files. Make the archive again without it."
            )
        _write(path, member, target.joinpath(*parts))
        count += 1
    if not count:
        raise InputError(
            f"The archive {path.name} holds no files. Expected a folder of images, a table or a "
            "saved data set in it."
        )
    return _find_data(path, target)


def _members(path: Path) -> Iterator[Member]:
    """Yield the files of an archive, as long as they are not far too much."""
    opened = open_zip_members if is_zip(path) else open_tar_members
    with archive_explained(path), opened(path) as members:
        yield from (one for one in members if not one.is_folder)


def _write(archive: Path, member: Member, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is not None:
            # A second file of the same name would take the place of the first.
            with naming(path), source, path.open("xb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
    except (*DAMAGED, OSError) as error:
        if not isinstance(error, OSError) or is_of_content(error):
            raise InputError(
                f"The archive {archive.name} cannot be unpacked: {error}. Expected a whole one "
                "without a password. Make it again, or unpack it and import what was in it."
            ) from error
        if error.errno not in _IMPOSSIBLE_NAMES:
            raise
        raise InputError(
            f"The archive names the file {show(member.name, 80)}, which cannot be made here "
            f"({error.strerror}). Make the archive again without it, or with shorter names."
        ) from error


def _find_data(path: Path, folder: Path) -> Path:
    """Return the only table where there is nothing else, else the folder behind wrappings.

    A table beside folders may name their files with the wrappings, which are kept then; so are
    those that a data set is recognised by.

    Raises:
        InputError: If there are several tables and nothing else.
    """
    root = unwrap(folder)
    folders, files = list_folder(root)
    tables = [name for name in files if is_table(name)]
    is_saved = any(name in SAVED for name in files)
    if len(tables) == 1 and not folders and not is_saved:
        return root / tables[0]
    if len(tables) > 1 and not folders and not all(n.endswith(".parquet") for n in tables):
        raise InputError(
            f"The archive {path.name} holds {len(tables)} tables: {', '.join(tables[:10])}. "
            "Expected one. Unpack it, and import the tables one after the other, the second one "
            "into the same project."
        )
    known = next((one for one in list_wrappings(folder) if find_dataset(one)), root)
    return folder if tables and not is_saved else known
