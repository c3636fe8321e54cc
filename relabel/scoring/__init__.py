"""From a network and its checkpoints to a ranked queue: the run on disk, its rows, the estimate.

Nothing here imports torch before work that needs it begins.
"""
