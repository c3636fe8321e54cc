"""The built-in networks, made from a saved configuration; and a person's own.

``builtin`` does not import torch; ``build`` does.
"""
