"""Long work from end to end: building demos, scoring, with progress and resumption.

Nothing here imports torch before work that needs it begins.
"""
