"""Predict: label images, outlines and measurements of a user's own images."""

from karyoseg.pipelines.predict.pipeline import create_pipeline

__all__ = ["create_pipeline"]
