"""Tests of tracin_core.training."""
