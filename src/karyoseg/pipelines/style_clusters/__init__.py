"""Groups of images that look alike."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
