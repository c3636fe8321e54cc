"""Tests of tracin_core.models."""
