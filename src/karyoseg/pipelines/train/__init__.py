"""Training of a segmentation model."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
