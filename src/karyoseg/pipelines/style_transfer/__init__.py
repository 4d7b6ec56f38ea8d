"""Images in the style of unannotated ones, made from synthetic label images."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
