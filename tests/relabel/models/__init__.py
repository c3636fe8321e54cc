"""Tests of relabel.models."""
