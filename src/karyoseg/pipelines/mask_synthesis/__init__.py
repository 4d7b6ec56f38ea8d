"""Synthetic label images that look like those of each style."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
