"""The notebook runs from top to bottom on what a run leaves, and is committed without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = "notebooks/explore_results.ipynb"
CELL_SECONDS = 300


def test_notebook_is_committed_without_outputs(project: Path) -> None:
    notebook = nbformat.read(project / NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_notebook_runs_on_the_results_of_a_run(finished_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDRO_ENV", "test")
    monkeypatch.setenv("PYTHONPATH", str(finished_project / "src"))
    notebook = nbformat.read(finished_project / NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3")
    client.execute(cwd=str(finished_project / "notebooks"))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) == 4  # worst image, scores over threshold, losses, prediction
    tables = " ".join(output["data"].get("text/html", "") for output in outputs if "data" in output)
    assert [word for word in ("ap_50", "n_true", "val_loss", "area_px", "prob_thresh") if word not in tables] == []
