"""Parts of the ranked queue: filters and the map."""
