"""COCO JSON as a classification: the one category that all annotations of a picture agree on.

Boxes, outlines and key points say where something is, which is no label of the whole picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from relabel.importers.columns.values import RefusedError
from relabel.importers.files.encoding import find_encoding
from relabel.importers.files.locating import ANNOTATIONS
from relabel.importers.files.served import find_served
from relabel.importers.options import ImportOptions
from relabel.importers.readers.annotations.json_members import read_members
from relabel.importers.records import Problem, Row, Schema, row_problem
from relabel.text import counted
from tracin_core.errors import InputError
from tracin_core.files import expand_path

_LOOKED_AT = 300  # members by which such a file is known
_COLUMNS = ("file_name", "category", "id")
_PLACES = {"bbox": "boxes", "segmentation": "outlines", "keypoints": "key points"}
_SEVERAL = object()


def is_coco(path: Path) -> bool:
    """Return whether a file begins with pictures or annotations as COCO has them."""
    try:
        return any(
            isinstance(found, dict)
            and (
                (name == "images" and {"id", "file_name"} <= found.keys())
                or (name == "annotations" and "image_id" in found)
            )
            for name, found in islice(read_members(path, find_encoding(path).name), _LOOKED_AT)
        )
    except InputError:
        return False


class CocoReader:
    """Rows of a COCO file, one a picture: its file's name and its category.

    Attributes:
        schema: Of the columns.
        name: Of the file.
        folder: That the pictures are looked for below.
    """

    def __init__(self, path: Path, options: ImportOptions) -> None:
        """Read the categories and what the pictures are annotated with.

        Raises:
            InputError: If the file cannot be read, or says of most pictures several things.
        """
        self._path, self._encoding = path, find_encoding(path).name
        self.name, self.folder = path.name, path.parent
        if path.parent.name.lower() == ANNOTATIONS:
            self.folder = path.parent.parent
        self._root = expand_path(options.image_root) if options.image_root else None
        self._names: dict[Any, str] = {}
        # Number of the category by picture, or that there are several.
        self._found: dict[Any, Any] = {}
        num_annotations, places = self._look_through()
        num_several = sum(one is _SEVERAL for one in self._found.values())
        self._check_is_classified(num_annotations, num_several, places)
        self.schema = Schema(
            columns=_COLUMNS,
            typed=True,
            notes=tuple(_describe(num_annotations, places)),
            roles={"label": "category", "image": "file_name"},
        )

    def read_rows(self, columns: Sequence[str]) -> Iterator[Row | Problem]:
        """Yield the pictures in their order; one without a single category is a problem."""
        number = 0
        for name, found in read_members(self._path, self._encoding):
            if name != "images":
                continue
            number += 1
            try:
                yield Row(number, [self._read_cell(found, column) for column in columns])
            except RefusedError as refused:
                yield row_problem(number, str(refused), refused.what)

    def _read_cell(self, found: Any, column: str) -> Any:
        if not isinstance(found, dict) or "id" not in found:
            raise RefusedError(
                "not an object", 'Expected a picture such as {"id": 1, "file_name": "1.jpg"}.'
            )
        if column == "category":
            return self._find_category(found["id"])
        cell = found.get(column)
        if column == "file_name" and isinstance(cell, str):
            return find_served(self._root or self.folder, cell)
        return cell

    def _find_category(self, image: Any) -> str:
        """Return the name of a picture's category.

        Raises:
            RefusedError: If it has none or several.
        """
        found = self._found.get(_hashed(image))
        if found is None:
            raise RefusedError(
                "no label", "No annotation is about this picture. Annotate it, or leave it out."
            )
        if found is _SEVERAL:
            raise RefusedError(
                "several labels",
                "Its annotations have different categories. Expected one for the whole picture. "
                "Keep those of one category, or leave it out.",
            )
        if found not in self._names:
            raise RefusedError(
                "unknown class",
                f"Its category {found!r:.40} is none of the {len(self._names)} categories of the "
                "file. Add it there, or correct it.",
            )
        return self._names[found]

    def _look_through(self) -> tuple[int, Counter[str]]:
        """Return how many annotations there are, and how many say where something is."""
        number, places = 0, Counter[str]()
        for name, found in read_members(self._path, self._encoding):
            if not isinstance(found, dict):
                continue
            if name == "categories":
                self._names[_hashed(found.get("id"))] = str(found.get("name", found.get("id")))
            elif name == "annotations" and found.get("category_id") is not None:
                number += 1
                places.update(key for key in _PLACES if found.get(key))
                image, category = _hashed(found.get("image_id")), _hashed(found["category_id"])
                if self._found.setdefault(image, category) != category:
                    self._found[image] = _SEVERAL
        return number, places

    def _check_is_classified(
        self, num_annotations: int, num_several: int, places: Mapping[str, int]
    ) -> None:
        if not num_annotations:
            raise InputError(
                f"{self._path} is COCO JSON without categories of its pictures: no annotation has "
                "a category_id. Expected one category for each picture. Captions and results of "
                "models are not read."
            )
        if 2 * num_several <= len(self._found):
            return
        where = f" ({_list_places(places)})" if places else ""
        raise InputError(
            f"{self._path} is COCO JSON for detection or segmentation{where}: {num_several:,} of "
            f"{counted(len(self._found), 'annotated picture')} have several categories. Expected "
            "one category for each picture: one label for each example is checked here, no boxes "
            "or outlines. Cut the objects out, one picture each in a folder of its category, and "
            "import that folder."
        )


def _hashed(found: Any) -> Any:
    """Return a number or name that can be looked up, whatever the file has in its place."""
    return found if isinstance(found, int | str) else repr(found)


def _list_places(places: Mapping[str, int]) -> str:
    return ", ".join(f"{_PLACES[key]}: {number:,}" for key, number in places.items())


def _describe(num_annotations: int, places: Mapping[str, int]) -> Iterator[str]:
    yield "Label: the category that all annotations of a picture agree on."
    if places:
        yield (
            f"Where in the pictures something is, is not read ({_list_places(places)}, in "
            f"{counted(num_annotations, 'annotation')})."
        )
