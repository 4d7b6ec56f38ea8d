"""Kedro input/output classes, all on fsspec paths."""

from karyoseg.datasets.figure_folder import FigureFolder
from karyoseg.datasets.model_directory import ModelDirectory
from karyoseg.datasets.prediction_folder import PredictionFolder
from karyoseg.datasets.sample_partitions import SamplePartitions
from karyoseg.datasets.whole_files import CSVDataset, JSONDataset, MatplotlibDataset, ParquetDataset, TextDataset

__all__ = [
    "CSVDataset",
    "FigureFolder",
    "JSONDataset",
    "MatplotlibDataset",
    "ModelDirectory",
    "ParquetDataset",
    "PredictionFolder",
    "SamplePartitions",
    "TextDataset",
]
