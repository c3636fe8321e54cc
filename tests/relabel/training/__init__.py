"""Tests of relabel.training."""
