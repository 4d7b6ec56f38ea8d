"""A model that several processes share, some of which live longer than it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.models import bundled_models, load_segmenter, shared
from karyoseg.models.shared import SharedModel

FACTS = ("openvino", "f32")


@pytest.fixture(autouse=True)
def _none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_OPEN", {})


def test_a_model_that_is_open_is_not_opened_again() -> None:
    segmenter = load_segmenter("nuclei-fluo")
    model = SharedModel.of(segmenter, "nuclei-fluo", " ".join(FACTS))
    assert model == SharedModel("nuclei-fluo", *FACTS, segmenter.fingerprint)
    assert replace(model)() is segmenter


def test_a_model_that_was_trained_anew_is_opened_anew(tmp_path: Path) -> None:
    name, shipped = str(tmp_path / "mine"), bundled_models()
    copytree(shipped["nuclei-fluo"], name)
    first = SharedModel(name, *FACTS, load_segmenter(name).fingerprint)
    assert first().fingerprint == first.fingerprint

    copytree(shipped["nuclei-fluo-fast"], name, dirs_exist_ok=True)
    second = replace(first, fingerprint=load_segmenter(name).fingerprint)
    assert first() is first()  # the run that uses it goes on
    assert second().fingerprint == second.fingerprint != first.fingerprint
    assert list(shared._OPEN) == [second]
    with pytest.raises(KaryosegError, match=f"mine: the model has changed since the run began.*{first.fingerprint}"):
        first()
