"""Frozen networks whose features stand for images and texts: where weights are, and how they run.

The families of backbones are files of ``families``, each of which registers itself.
"""
