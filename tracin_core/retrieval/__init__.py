"""Finding proponents and opponents among stored vectors."""

from tracin_core.retrieval.index import Index, open_index
from tracin_core.retrieval.index_build import build_index
from tracin_core.retrieval.queries import Found

__all__ = ["Found", "Index", "build_index", "open_index"]
