"""Tests of tracin_core.examples."""
