"""From microscopy images to evaluated nucleus segmentation models."""

__version__ = "0.1.0"
