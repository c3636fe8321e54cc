"""Parquet that Hugging Face's datasets loads with its features: classes, and pictures inside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

from relabel.exporters.exported import Exported, Rows
from relabel.exporters.registry import register_exporter

if TYPE_CHECKING:
    import pyarrow as pa

_VALUES = {"text": "string", "number": "float64", "count": "int32", "flag": "bool"}
# Columns of class names, which become numbers with names.
_CLASSES = ("label", "given_label", "predicted_label", "suggested_label")
_PICTURE = "media_path"


@register_exporter(
    "huggingface",
    "Hugging Face data set",
    "huggingface.parquet",
    mime="application/vnd.apache.parquet",
    order=70,
)
def write_huggingface(file: BinaryIO, exported: Exported, chunks: Rows) -> None:
    """Write Parquet with the features in its schema; a picture is the column "image"."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {_name(name): _describe(exported, name) for name in exported.columns}
    about = json.dumps({"info": {"features": features}}).encode()
    fields = [(_name(name), _type_of(exported, name)) for name in exported.columns]
    schema = pa.schema(fields, metadata={"huggingface": about})
    index = {name: number for number, name in enumerate(exported.classes)}
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            # Pictures are megabytes: a row group of few of them.
            size = 100 if _PICTURE in exported.content else len(chunk)
            for start in range(0, len(chunk), size):
                rows = chunk[start : start + size]
                arrays = [
                    pa.array([_cell(exported, name, row, index) for row in rows], kind)
                    for name, (_, kind) in zip(exported.columns, fields, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _is_class(exported: Exported, name: str) -> bool:
    is_ours = name in _CLASSES and name not in exported.content
    return is_ours and exported.task == "classification"


def _is_picture(exported: Exported, name: str) -> bool:
    return exported.kind == "image" and name == _PICTURE


def _name(name: str) -> str:
    return "image" if name == _PICTURE else name


def _describe(exported: Exported, name: str) -> dict[str, Any]:
    if _is_picture(exported, name):
        return {"_type": "Image"}
    if _is_class(exported, name):
        return {"names": list(exported.classes), "_type": "ClassLabel"}
    return {"dtype": _VALUES[exported.columns[name]], "_type": "Value"}


def _type_of(exported: Exported, name: str) -> pa.DataType:
    import pyarrow as pa

    if _is_picture(exported, name):
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    if _is_class(exported, name):
        return pa.int64()
    types = {"text": pa.string(), "number": pa.float64(), "count": pa.int32(), "flag": pa.bool_()}
    return types[exported.columns[name]]


def _cell(exported: Exported, name: str, row: dict[str, Any], index: dict[str, int]) -> Any:
    value = row[name]
    if value is None:
        return None
    if _is_picture(exported, name):
        return {"bytes": exported.read_picture(value), "path": value.rsplit("/", 1)[-1]}
    if _is_class(exported, name):
        return index[value]
    held = exported.columns[name]
    return str(value) if held == "text" else float(value) if held == "number" else value
