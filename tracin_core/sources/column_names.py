"""Which column is what, by how people call their columns."""

from __future__ import annotations

import re
from collections.abc import Iterable

# In order of preference: a table with `label` and `category` is about the label.
TEXT_NAMES = (
    *("text", "sentence", "review", "content", "document", "message", "tweet", "comment"),
    *("utterance", "question", "headline", "body", "review_text", "reviewtext", "full_text"),
    *("sentence1", "description", "abstract", "summary", "title"),
)
IMAGE_NAMES = (
    *("image", "img", "image_path", "img_path", "filepath", "file_path", "path", "file_name"),
    *("filename", "file", "picture", "photo", "image_file", "image_name"),
)
LABEL_NAMES = (
    *("label", "labels", "given_label", "noisy_label", "observed_label", "target", "class"),
    *("class_name", "classname", "class_label", "label_name", "category", "sentiment", "topic"),
    *("intent", "fine_label", "label_text", "classes", "y", "diagnosis", "species"),
    *("label_id", "class_id", "category_id", "kategorie", "klasse", "catégorie", "classe"),
    *(
        "étiquette",
        "categoría",
        "clase",
        "etiqueta",
        "categoria",
        "класс",
        "метка",
        "标签",
        "类别",
        "ラベル",
    ),
)
_LABEL_ENDINGS = ("_label", "_class", "_category", "_sentiment", "_target", "_topic", "_intent")
SPLIT_NAMES = (
    *("split", "subset", "partition", "set", "fold_name", "data_split", "dataset_split", "usage"),
)
TRUTH_NAMES = (
    *("true_label", "truelabel", "ground_truth", "groundtruth", "gold", "gold_label", "truth"),
    *("clean_label", "correct_label", "true_class", "true_value", "original_label"),
)
KEY_NAMES = ("id", "key", "uid", "uuid", "guid", "index", "idx", "example_id", "row_id", "rowid")
TRAIN_WORDS = ("train", "training", "trn")
TEST_WORDS = ("test", "testing", "tst", "val", "valid", "validation", "dev", "eval", "evaluation")
LONGITUDES = ("longitude", "lon", "lng", "long")
LATITUDES = ("latitude", "lat")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# What pandas and R call an index that was saved with the columns.
_INDEX_NAMES = ("column_1", "rownames", "row_names", "row_number", "row")
_INDEX_BEGINNINGS = ("unnamed:", "__index_level_")


def normalise(name: str) -> str:
    """Return a name as the lists above have it: "Review Text" and "reviewText" are alike."""
    return re.sub(r"[\s\-.]+", "_", _CAMEL.sub("_", name.strip()).lower())


def first_named(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the column whose name stands first in a list."""
    by_name = {normalise(column): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def is_key_name(name: str) -> bool:
    """Tell whether a column is called like an identifier."""
    plain = normalise(name)
    is_index = plain in _INDEX_NAMES or plain.startswith(_INDEX_BEGINNINGS)
    return plain in KEY_NAMES or plain.endswith(("_id", "_key", "_uuid")) or is_index


def label_named(columns: Iterable[str]) -> str | None:
    """Return the column that is called like a label, or is the only one that ends like it."""
    names = list(columns)
    ending = [name for name in names if normalise(name).endswith(_LABEL_ENDINGS)]
    ending = [name for name in ending if normalise(name) not in TRUTH_NAMES]
    return first_named(names, LABEL_NAMES) or (ending[0] if len(ending) == 1 else None)


def find_axis(name: str, low: float, high: float) -> str | None:
    """Return "longitude" or "latitude" if a column's name and values are such."""
    plain = normalise(name)
    if plain in LONGITUDES and low >= -180 and high <= 360:
        return "longitude"
    if plain in LATITUDES and low >= -90 and high <= 90:
        return "latitude"
    return None


def guess_split(value: str) -> str | None:
    """Return "train" or "test" for a word such as "training", "PublicTest" or "clean_test"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", value.strip())
    parts = set(re.split(r"[^a-z]+", words.lower()))
    if parts & set(TEST_WORDS):
        return "test"
    return "train" if parts & set(TRAIN_WORDS) else None
