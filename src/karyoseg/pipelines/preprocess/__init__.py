"""Validated, rescaled, normalised pairs and their splits."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
