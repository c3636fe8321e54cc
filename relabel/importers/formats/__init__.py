"""The import formats: one file each, which registers itself.

A new format is one new module in this folder (which may hold its reader as well); opening, the
command line, the pages, the check of options and that of the documentation read ``IMPORTERS``.
Nothing here loads a reader before data is opened.
"""

from relabel.importers.formats.registry import (
    IMPORTERS,
    Form,
    Importer,
    describe_importers,
    list_forms,
    register_importer,
)
from relabel.importers.formats.registry import load_importers as _load_importers

__all__ = [
    "IMPORTERS",
    "Form",
    "Importer",
    "describe_importers",
    "list_forms",
    "register_importer",
]

_load_importers(__path__)
