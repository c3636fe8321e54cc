"""Folders of object detection, known by their files of boxes: YOLO, Pascal VOC, and COCO.

Their folders look like classes and their files of boxes like texts, and are neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice
from pathlib import PurePosixPath

from relabel.importers.columns.column_names import PICTURES
from relabel.importers.columns.values import RefusedError
from relabel.importers.files.locating import ANNOTATIONS
from relabel.importers.files.trees import Tree, TreeFile
from tracin_core.errors import InputError

_LOOKED_AT = 20_000  # names of files
_OPENED = 5  # files of each kind
_HEAD = 4096  # bytes
# A class and at least four numbers a line: a box, an outline or key points.
_BOX = re.compile(rb"\s*\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}\s*")
# Folders and files that only such data has.
_YOLO_FOLDERS = {"labels", "obj_train_data"}
_YOLO_FILES = {"data.yaml", "data.yml", "dataset.yaml", "obj.names", "obj.data", "classes.txt"}
_VOC_FOLDERS = {"annotations", "jpegimages", "imagesets"}
_WAY_OUT = (
    "One label for each example is checked here, no boxes or outlines. Cut the objects out, one "
    "picture each in a folder of its class, and import that folder. If the pictures lie in folders "
    "of their classes already, name the folder around those; if the folders are classes "
    "nevertheless, name them with --classes."
)


def refuse_detection(tree: Tree) -> None:
    """Check that a tree holds no boxes in the place of classes.

    Raises:
        InputError: If it does.
    """
    folders: set[str] = set()
    files: set[str] = set()
    checks = {".txt": _holds_boxes, ".xml": _is_voc, ".json": _is_coco}
    seen: dict[str, list[bool]] = {ending: [] for ending in checks}
    pictures, described = 0, []
    for file in islice(tree.files(), _LOOKED_AT):
        path = PurePosixPath(file.name.lower())
        folders.update(path.parts[:-1])
        files.add(path.name)
        pictures += path.suffix in PICTURES
        found = seen.get(path.suffix)
        if found is not None and len(found) < _OPENED and path.name not in _YOLO_FILES:
            held = checks[path.suffix](file)
            found += [] if held is None else [held]
            if held and path.suffix == ".json":
                described.append(file.name)
    is_yolo = folders & _YOLO_FOLDERS or files & _YOLO_FILES
    if is_yolo and seen[".txt"] and all(seen[".txt"]):
        raise _refuse(tree, "a YOLO data set: text files of boxes beside the pictures")
    if folders & _VOC_FOLDERS and seen[".xml"] and all(seen[".xml"]):
        raise _refuse(tree, "a Pascal VOC data set: XML files of boxes beside the pictures")
    if pictures and ANNOTATIONS in folders and described:
        raise InputError(
            f"{tree.root} is a COCO data set: pictures, and JSON files in a folder beside them. "
            f"Expected one of these files: {', '.join(described)}. Name it as the path, the others "
            "one after the other into the same project; of an archive, unpack it first. Where each "
            "picture has one category, that is its label."
        )


def _refuse(tree: Tree, what: str) -> InputError:
    return InputError(f"{tree.root} is {what}. Expected one class for each picture. {_WAY_OUT}")


def _read_head(file: TreeFile) -> bytes:
    if file.is_linked_folder or len(file.parts) < 1:
        return b""
    try:
        return file.read()[:_HEAD]
    except RefusedError:  # told when the files are read
        return b""


def _look(test: Callable[[bytes], bool]) -> Callable[[TreeFile], bool | None]:
    def look(file: TreeFile) -> bool | None:
        head = _read_head(file)
        return test(head) if head.strip() else None

    return look


def _has_boxes(head: bytes) -> bool:
    lines = [line for line in head.split(b"\n") if line.strip()]
    # The last one may be cut off.
    whole = lines[:-1] if len(head) == _HEAD else lines
    return bool(whole) and all(_BOX.fullmatch(line) for line in whole)


_holds_boxes = _look(_has_boxes)
_is_voc = _look(lambda head: b"<annotation" in head)
_is_coco = _look(lambda head: b'"images"' in head or b'"annotations"' in head)
