"""What names of folders and files mean that is not the name of a class."""

from __future__ import annotations

import re
from collections.abc import Collection

from tracin_core.sources.column_names import TEST_WORDS, TRAIN_WORDS, guess_split

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

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
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


def is_clutter(name: str) -> bool:
    """Tell whether a file or folder is called like what systems leave behind."""
    lower = name.lower()
    return name.startswith(".") or lower in _CLUTTER or lower.endswith(_CLUTTER_ENDINGS)


def is_sidecar(name: str) -> bool:
    """Tell whether a file holds what a program notes about a picture: "1.jpg.xmp", "1.aae"."""
    return name.lower().endswith(_SIDECARS)


def is_container(name: str) -> bool:
    """Tell whether a folder is called like one of any files: "images", "data"."""
    return _squeeze(name) in _CONTAINERS


def is_about_files(name: str) -> bool:
    """Tell whether a folder is called like one of masks, boxes or other answers, by file."""
    return _squeeze(name) in _ABOUT


def is_of_thumbnails(name: str) -> bool:
    """Tell whether a folder is called like one of small copies, and like nothing else."""
    return _squeeze(name) in ("thumbnails", "previews", "thumbnail")


def is_unlabelled(name: str) -> bool:
    """Tell whether a folder is called like one of files whose class nobody has said."""
    return _squeeze(name) in _UNLABELLED


def is_doubtful(name: str) -> bool:
    """Tell whether a folder's name may say that the class is not known, or be one."""
    plain = name.strip().strip("_- ").lower()
    return plain in _DOUBTFUL | _VAGUE or (plain.endswith("s") and _squeeze(name) in _ABOUT)


def is_fold(name: str) -> bool:
    """Tell whether a folder is called like a part of a data set: "fold3", "cv0", "batch_a"."""
    return _FOLD.fullmatch(name.strip()) is not None


def is_split(name: str) -> bool:
    """Tell whether a folder is called like the part for training or testing, and nothing else."""
    return name.strip().lower() in (*TRAIN_WORDS, *TEST_WORDS)


def say_splits(names: Collection[str]) -> bool:
    """Tell whether all names of folders are those of splits: "train", "my-val", "images_test"."""
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
    """Tell whether a file may be a table that says the classes of others, by its path."""
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
