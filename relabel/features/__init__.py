"""Examples as a network sees them: encoders for images, texts and rows, and their cache.

Nothing here imports torch before a tensor is asked for, so the pages can use it freely.
"""
