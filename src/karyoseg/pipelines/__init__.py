"""Kedro pipelines: thin nodes over :mod:`karyoseg.core` and :mod:`karyoseg.models`."""
