"""Predictions of the test split and their metrics."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
