"""Families of backbones, one file each: whatever lies in this folder is offered.

A file registers its family with ``register_backbones`` and imports torch, and libraries that need
not be installed, inside functions alone: which backbones there are is read without torch.
"""
