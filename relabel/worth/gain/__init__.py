"""The gain of a review, measured: the same model with and without the corrections.

``options`` and ``saved`` are read by pages and need no torch; ``measure`` does the work.
"""
