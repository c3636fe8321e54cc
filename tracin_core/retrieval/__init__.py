"""Search for proponents and opponents among stored vectors; no torch."""

from tracin_core.retrieval.exact import SearchResult
from tracin_core.retrieval.index import Index, build_index, open_index

__all__ = ["SearchResult", "Index", "build_index", "open_index"]
