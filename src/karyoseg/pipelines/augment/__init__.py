"""The augmentation policy and a figure of what it does."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
