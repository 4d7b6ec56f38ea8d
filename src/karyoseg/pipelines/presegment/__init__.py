"""Weak labels for images that nobody annotated."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
