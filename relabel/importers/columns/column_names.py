"""What names of columns, folders and files usually mean: a label, a text, a split, a mask."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

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
# What systems, file servers (Synology, QNAP, Windows, macOS) and programs leave in folders, which
# nobody means as data; whatever begins with a point is passed over beside these.
_CLUTTER = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r", "picasa.ini"),
    *("zbthumbnail.info", "@eadir", "@tmp", "@sharebin", "@recycle", "#recycle", "#snapshot"),
    *("@recently-snapshot", "lost+found", "$recycle.bin", "recycler", "__pycache__"),
    *("system volume information", "network trash folder", "temporary items"),
}
_CLUTTER_ENDINGS = ("@synoresource", "@synoeastream", ":zone.identifier")
# Files that programs keep beside a picture.
_SIDECARS = (".xmp", ".aae", ".thm", ".pp3", ".dop", ".cos", ".jpg.json", ".png.json", ".jpeg.json")
PICTURES = {
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"),
    *(".heic", ".heif", ".avif"),
}
# Files of these kinds are no pictures, and their folders no classes of pictures.
NO_PICTURES = {
    *(".txt", ".md", ".rst", ".html", ".pdf", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml"),
    *(".yml", ".toml", ".py", ".ipynb", ".mat", ".npy", ".npz", ".h5", ".pkl", ".parquet", ".log"),
    *(".svg", ".cfg", ".ini", ".doc", ".docx", ".xlsx", ".zip", ".gz", *_SIDECARS),
}
# A folder of whatever, and one of what says something about the files in such a folder.
_CONTAINERS = {
    *("image", "images", "img", "imgs", "jpegimages", "jpeg", "jpg", "png", "picture", "pictures"),
    *("photo", "photos", "rgb", "frames", "scans", "imagestr", "imagests", "input", "inputs"),
    *("leftimgbit",),
    *("data", "files", "all", "raw", "samples", "texts", "txt", "documents", "docs"),
}
_ABOUT = {
    *("mask", "masks", "annotation", "annotations", "annots", "segmentation", "segmentations"),
    *("segmentationclass", "segmentationobject", "seg", "label", "labels", "labelstr", "labelsts"),
    *("gt", "gts", "groundtruth", "groundtruths", "bbox", "bboxes", "boxes", "xml", "xmls"),
    *("trimap", "trimaps", "depth", "depths", "heatmaps", "matte", "mattes", "alpha", "target"),
    *(
        "targets",
        "annot",
        "gtfine",
        "gtcoarse",
        "instances",
        "semantic",
        "contours",
        "thumbnails",
        "thumbs",
        "previews",
    ),
}
_VAGUE = {"image", "images", "img", "imgs", "data", "files", "all", "samples", "raw"}
_UNLABELLED = {
    *("unlabeled", "unlabelled", "unlabel", "unsup", "unsupervised", "unsorted", "nolabel"),
    *("nolabels", "notlabeled", "notlabelled", "unannotated", "tolabel", "tosort", "todo"),
    *("tobelabeled", "tobelabelled", "tobesorted", "labelme", "inbox"),
}
_DOUBTFUL = {
    *("unknown", "unk", "other", "others", "misc", "miscellaneous", "unclassified", "undefined"),
    *("none", "na", "null", "nan", "uncategorized", "uncategorised", "new", "new folder", "temp"),
    *("tmp", "backup", "old", "copy", "test images", "corrupt", "corrupted", "bad files"),
    *("not sure", "unsure", "duplicates", "duplicate", "rejected", "ignore", "unclear"),
}
_FOLD = re.compile(
    r"(k?fold|cv|split|part|partition|batch|chunk|shard|subset)"
    r"([\s_.-]*\d{1,3}|[\s_.-]+[a-z0-9]{1,3})",
    re.IGNORECASE,
)
_OF_LABELS = re.compile(r"label|annotation|annot|class|meta|truth|target|(^|[\W_])gt($|[\W_])")
_SPLIT_WORDS = "|".join(sorted((*TRAIN_WORDS, *TEST_WORDS), key=len, reverse=True))
_LEADING_SPLIT, _TRAILING_SPLIT = re.compile(f"^({_SPLIT_WORDS})"), re.compile(f"({_SPLIT_WORDS})$")
# Beside the word for a split: "training_set"; CycleGAN's "trainA" and "trainB".
_OF_SPLITS = {"", "set", "split", "part", "folder", "dataset", "a", "b", "ing", "original", "new"}
_MASK_ENDING = re.compile(
    r"(.+?)[\s_.-]+"
    r"((mask|masks|seg|segmentation|gt|groundtruth|trimap|thumb|thumbnail)([\s_-]?\d{1,2})?"
    r"|\d{2,4}x\d{2,4})",  # WordPress: "scan-150x150"
    re.IGNORECASE,
)
_THUMB_BEGINNING = re.compile(r"(?:thumb|thumbnail|tn)[\s_.-]+(.+)", re.IGNORECASE)


def normalise(name: str) -> str:
    """Return a name as the lists above have it: "Review Text" and "reviewText" are alike."""
    return re.sub(r"[\s\-.]+", "_", _CAMEL.sub("_", name.strip()).lower())


def first_named(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """Return the column whose name stands first in a list."""
    by_name = {normalise(column): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def is_key_name(name: str) -> bool:
    """Return whether a column is called like an identifier."""
    plain = normalise(name)
    is_index = plain in _INDEX_NAMES or plain.startswith(_INDEX_BEGINNINGS)
    return plain in KEY_NAMES or plain.endswith(("_id", "_key", "_uuid")) or is_index


def label_named(columns: Iterable[str]) -> str | None:
    """Return the column that is called like a label, or is the only one that ends like it."""
    names = list(columns)
    ending = [name for name in names if normalise(name).endswith(_LABEL_ENDINGS)]
    ending = [name for name in ending if normalise(name) not in TRUTH_NAMES]
    named = first_named(names, LABEL_NAMES) or (ending[0] if len(ending) == 1 else None)
    # Beside no other label the gold one is no truth to compare with, but the label: SNLI, MultiNLI.
    return named or (None if ending else first_named(names, ("gold_label",)))


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


def is_clutter(name: str) -> bool:
    """Return whether a file or folder is called like what systems leave behind."""
    lower = name.lower()
    return name.startswith(".") or lower in _CLUTTER or lower.endswith(_CLUTTER_ENDINGS)


def is_sidecar(name: str) -> bool:
    """Return whether a file holds what a program notes about a picture: "1.jpg.xmp", "1.aae"."""
    return name.lower().endswith(_SIDECARS)


def is_container(name: str) -> bool:
    """Return whether a folder is called like one of any files: "images", "data"."""
    return _squeeze(name) in _CONTAINERS


def is_about_files(name: str) -> bool:
    """Return whether a folder is called like one of masks, boxes or other answers, by file."""
    return _squeeze(name) in _ABOUT


def is_of_thumbnails(name: str) -> bool:
    """Return whether a folder is called like one of small copies, and like nothing else."""
    return _squeeze(name) in ("thumbnails", "previews", "thumbnail")


def is_unlabelled(name: str) -> bool:
    """Return whether a folder is called like one of files whose class nobody has said."""
    return _squeeze(name) in _UNLABELLED


def is_doubtful(name: str) -> bool:
    """Return whether a folder's name may say that the class is not known, or be one."""
    plain = name.strip().strip("_- ").lower()
    return plain in _DOUBTFUL | _VAGUE or (plain.endswith("s") and _squeeze(name) in _ABOUT)


def is_fold(name: str) -> bool:
    """Return whether a folder is called like a part of a data set: "fold3", "cv0", "batch_a"."""
    return _FOLD.fullmatch(name.strip()) is not None


def is_split(name: str) -> bool:
    """Return whether a folder is called like the part for training or testing, and nothing else."""
    return name.strip().lower() in (*TRAIN_WORDS, *TEST_WORDS)


def say_splits(names: Collection[str]) -> bool:
    """Return whether all names of folders are those of splits: "train", "my-val", "images_test"."""
    return bool(names) and all(guess_split(name) for name in names)


def role_of(name: str) -> str:
    """Return what a folder of files is for by its name: "about", "container", "split" or "".

    "val-masks" and "trainannot" are about files, "train_images" and "train2017" say a split.
    """
    plain = re.sub(r"[\W_\d]+", "", name.lower())
    said = _LEADING_SPLIT.match(plain) or _TRAILING_SPLIT.search(plain)
    rest = plain if said is None else plain.replace(said[0], "", 1)
    if rest in _ABOUT:
        return "about"
    if said is not None and (rest in _OF_SPLITS or rest in _CONTAINERS):
        return "split"
    return "container" if rest in _CONTAINERS else ""


def is_beside_folders(name: str) -> bool:
    """Return whether a file may be a table that says the classes of others, by its path."""
    *folders, file = name.split("/")
    stem, _, ending = file.lower().rpartition(".")
    if ending in ("csv", "tsv", "jsonl", "ndjson", "parquet"):
        return True
    is_named = len(folders) < 3 and _OF_LABELS.search(stem) is not None
    return is_named and ending in ("json", "xlsx", "xls", "ods", "txt", "dat", "list")


def masked_stem(stem: str) -> str | None:
    """Return "scan 1" for "scan 1_mask" and "thumb_scan 1", None for what is called otherwise."""
    found = _MASK_ENDING.fullmatch(stem) or _THUMB_BEGINNING.fullmatch(stem)
    return found[1] if found else None


def _squeeze(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())
