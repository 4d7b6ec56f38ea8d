from .figure_folder import FigureFolder
from .model_directory import ForegroundDirectory, ModelDirectory
from .prediction_folder import PredictionFolder
from .sample_partitions import SamplePartitions
from .style_models import StyleModels
from .whole_files import CSVDataset, JSONDataset, MatplotlibDataset, ParquetDataset, TextDataset

__all__ = [
    "CSVDataset",
    "FigureFolder",
    "ForegroundDirectory",
    "JSONDataset",
    "MatplotlibDataset",
    "ModelDirectory",
    "ParquetDataset",
    "PredictionFolder",
    "SamplePartitions",
    "StyleModels",
    "TextDataset",
]
