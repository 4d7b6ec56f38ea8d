"""The report of a trained model."""
