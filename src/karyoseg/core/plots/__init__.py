"""Figures from arrays and tables, by matplotlib objects only: no pyplot state, so threads are safe."""

from karyoseg.core.plots.canvas import to_jpeg_bytes, to_png_bytes
from karyoseg.core.plots.cases import case_panel, label_overlay
from karyoseg.core.plots.curves import ap_plot, learning_curves, size_histogram
from karyoseg.core.plots.sheets import case_grid, contact_sheet, gallery, random_window

__all__ = [
    "ap_plot",
    "case_grid",
    "case_panel",
    "contact_sheet",
    "gallery",
    "label_overlay",
    "learning_curves",
    "random_window",
    "size_histogram",
    "to_jpeg_bytes",
    "to_png_bytes",
]
