"""Long work from end to end: building demos, scoring, with progress and resumption."""
