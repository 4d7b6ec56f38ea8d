"""Training of U-Nets that map the foreground, for the full mode of predict."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]
