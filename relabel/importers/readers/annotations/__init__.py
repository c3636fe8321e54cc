"""Readers of what annotation tools write: Label Studio, doccano, Prodigy, COCO, other boxes."""
