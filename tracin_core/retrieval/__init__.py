"""Search for proponents and opponents among stored vectors; no torch."""

from tracin_core.retrieval.exact import SearchResult
from tracin_core.retrieval.index import Index, build_index, open_index
from tracin_core.retrieval.parts import (
    IndexInParts,
    add_part,
    build_index_in_parts,
    open_index_in_parts,
)

__all__ = [
    "SearchResult",
    "Index",
    "build_index",
    "open_index",
    "IndexInParts",
    "build_index_in_parts",
    "open_index_in_parts",
    "add_part",
]
