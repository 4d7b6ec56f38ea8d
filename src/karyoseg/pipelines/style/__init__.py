"""From images without masks to synthetic training samples that look like them."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
