"""Fetch a data set, check every sample, store one image and one label file per sample."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
