"""Parts of the inspection of one example."""
