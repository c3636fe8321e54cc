"""Published architectures as their libraries build them, with random weights."""
