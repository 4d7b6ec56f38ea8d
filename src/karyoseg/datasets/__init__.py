"""Kedro input/output classes, all on fsspec paths."""

from karyoseg.datasets.model_directory import ModelDirectory
from karyoseg.datasets.prediction_folder import PredictionFolder
from karyoseg.datasets.sample_partitions import SamplePartitions
from karyoseg.datasets.whole_files import CSVDataset, JSONDataset, ParquetDataset, TextDataset

__all__ = [
    "CSVDataset",
    "JSONDataset",
    "ModelDirectory",
    "ParquetDataset",
    "PredictionFolder",
    "SamplePartitions",
    "TextDataset",
]
