"""Parameters of the full prediction, searched on validation images."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
