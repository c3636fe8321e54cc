"""Sound data of every kind that can be imported, small."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.relabel.importers.builders import make_tar, make_zip, pets, picture

ROWS = 24
SENTENCES = [f"text number {n} says é, “this” and\tthat" for n in range(ROWS)]
LABELS = ["good" if n % 2 else "bad" for n in range(ROWS)]


def make_sound_data(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return data sets by name: the files of each, by their path.

    Args:
        folder: Where archives are written on the way.
    """
    lines = [f'"{text}",{label}' for text, label in zip(SENTENCES, LABELS, strict=True)]
    table = ("text,label\r\n" + "\r\n".join(lines) + "\r\n").encode()
    rows = [{"text": t, "label": i % 2} for i, t in enumerate(SENTENCES)]
    json_lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    numbers = "".join(f"{n};{n * 1.5};{n % 3};{n * n}\n" for n in range(ROWS))
    pictures = {name: picture(n) for n, name in enumerate(pets())}
    forms = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF"}
    mixed = {
        f"{label}/{n}.{ending}": picture(n, form=form)
        for label in ("cat", "dog")
        for n, (ending, form) in enumerate(forms.items())
    }
    x = np.random.default_rng(0).integers(0, 255, (ROWS, 6, 6), dtype=np.uint8)
    arrow = pa.table({"text": SENTENCES, "label": [n % 2 for n in range(ROWS)]})
    images = pa.table(
        {
            "image": [{"bytes": picture(n), "path": f"{n}.png"} for n in range(ROWS)],
            "label": [n % 2 for n in range(ROWS)],
        }
    )
    batch = {"data": np.zeros((8, 3072), np.uint8), "labels": [0, 1] * 4}
    return {
        "csv": {"d.csv": table},
        "csv in UTF-16": {"d.csv": table.decode().encode("utf-16")},
        "csv in Latin-1": {"d.csv": table.decode().encode("cp1252")},
        "csv of numbers": {"d.csv": ("a;b;label;target\n" + numbers).encode()},
        "csv, gzip": {"d.csv.gz": gzip.compress(table)},
        "csv, bzip2": {"d.csv.bz2": bz2.compress(table)},
        "JSON lines": {"d.jsonl": json_lines},
        "Parquet": {"d.parquet": _parquet(arrow)},
        "Parquet of images": {"d.parquet": _parquet(images)},
        "npz": {"d.npz": _npz(np.savez, x)},
        "npz, compressed": {"d.npz": _npz(np.savez_compressed, x)},
        "zip of images": {"d.zip": make_zip(folder / "a.zip", pictures).read_bytes()},
        "zip of a table": {"d.zip": make_zip(folder / "b.zip", {"d.csv": table}).read_bytes()},
        "tar of images": {"d.tar": make_tar(folder / "a.tar", pictures).read_bytes()},
        "tar, gzip": {"d.tar.gz": make_tar(folder / "a.tar.gz", pictures).read_bytes()},
        "folder of images": mixed,
        "folder of texts": {f"{w}/{n}.txt": SENTENCES[n].encode() for n in range(6) for w in "ab"},
        "saved data set": _saved(arrow),
        "CIFAR-10": {"cifar-10-batches-py/test_batch": pickle.dumps(batch)},
    }


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _npz(save: object, x: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    save(buffer, x=x, y=np.arange(ROWS) % 3)  # type: ignore[operator]
    return buffer.getvalue()


def _saved(table: pa.Table) -> dict[str, bytes]:
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
    }
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"f": features}})})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    name = "data-00000-of-00001.arrow"
    return {
        name: stream.getvalue(),
        "state.json": json.dumps({"_data_files": [{"filename": name}], "_split": "train"}).encode(),
        "dataset_info.json": json.dumps({"features": features}).encode(),
    }
