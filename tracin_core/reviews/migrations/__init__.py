"""The database's history: one revision a file, applied by `tracin_core.reviews.database`."""
