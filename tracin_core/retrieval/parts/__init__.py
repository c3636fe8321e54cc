"""An index in parts: many sets of train vectors, each with its own index, searched as one."""

from tracin_core.retrieval.parts.build import add_part, build_index_in_parts
from tracin_core.retrieval.parts.search import IndexInParts, open_index_in_parts

__all__ = ["IndexInParts", "add_part", "build_index_in_parts", "open_index_in_parts"]
