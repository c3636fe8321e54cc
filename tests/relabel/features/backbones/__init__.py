"""Tests of relabel.features."""
