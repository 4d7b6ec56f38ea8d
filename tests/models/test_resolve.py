"""What a user may call a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from karyoseg.core.errors import KaryosegError
from karyoseg.models import bundled_models, load_foreground, load_segmenter, model_folder
from karyoseg.models.stardist.pretrained import cache_folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the model `mine`, as current folder."""
    make(tmp_path / "data/06_models/mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"n_channel_in": 1}')
    (folder / "weights_best.h5").touch()
    return folder


def test_a_bundled_name_means_what_ships_wherever_one_is(here: Path) -> None:
    make(here / "nuclei-fluo")
    make(here / "data/06_models/nuclei-fluo")
    shipped = bundled_models()["nuclei-fluo"]
    assert model_folder("nuclei-fluo") == shipped
    assert model_folder("./nuclei-fluo") == Path("nuclei-fluo")  # a path is always a path
    assert model_folder("data/06_models/nuclei-fluo") == Path("data/06_models/nuclei-fluo")


def test_a_published_name_means_the_cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KARYOSEG_CACHE", str(here / "cache"))
    kept = make(cache_folder() / "models" / "2D_versatile_fluo")
    assert model_folder("2D_versatile_fluo") == kept


def test_a_folder_wins_over_a_model_of_the_project(here: Path) -> None:
    mine = here / "data/06_models/mine"
    assert model_folder(str(mine)) == mine
    assert model_folder("data/06_models/mine").resolve() == mine
    assert model_folder("mine").resolve() == mine
    (here / "mine").mkdir()  # of images, say
    assert model_folder("mine").resolve() == mine
    (here / "mine/config.json").touch()
    assert model_folder("mine").resolve() == here / "mine"


def test_the_project_may_be_elsewhere(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert model_folder("mine", here) == here / "data/06_models/mine"
    with pytest.raises(KaryosegError, match="no model there"):
        model_folder("mine", elsewhere)


def test_a_folder_with_an_at_is_a_folder(here: Path) -> None:
    folder = make(here / "a@b")
    assert model_folder(str(folder)) == folder


def test_a_folder_that_lacks_files_is_opened_to_say_which(here: Path) -> None:
    (here / "empty").mkdir()
    with pytest.raises(KaryosegError, match=r"empty: no model there \(config.json and weights_best.h5 missing\)"):
        load_segmenter("empty")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("nuclei-flou", "nuclei-fluo"),
        ("2D_versatile_flou", "2D_versatile_fluo"),
        ("mien", "data/06_models/mine"),
        ("data/06_models/mines", "data/06_models/mine"),
    ],
)
def test_what_is_not_there_names_what_is_nearest(here: Path, asked: str, meant: str) -> None:
    with pytest.raises(KaryosegError) as caught:
        model_folder(asked)
    text = str(caught.value)
    assert text.startswith(f"{asked}: no model there; needed: ")
    assert f"Did you mean {meant}?" in text
    tried = f"tried {asked}" if "/" in asked else f"tried {asked} and data/06_models/{asked}"
    for way in ("nuclei-fluo", "2D_paper_dsb2018", f"({tried})", "URL", "FOLDER@VERSION"):
        assert way in text


def test_nothing_near_is_not_guessed(here: Path) -> None:
    with pytest.raises(KaryosegError) as caught:
        model_folder("qqq")
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("data/06_models/mines-foreground", "data/06_models/mine-foreground"),
        ("mine", None),  # is there, but for something else
        ("nuclei-fluo", None),
        ("2D_versatile_fluo", None),
    ],
)
def test_a_missing_foreground_model_names_its_own_parameters_and_pipeline(
    here: Path, asked: str, meant: str | None
) -> None:
    (make(here / "data/06_models/mine-foreground") / "network_0.weights.h5").touch()
    with pytest.raises(KaryosegError) as caught:
        load_foreground(asked)
    text = str(caught.value)
    assert "no foreground model there" in text
    assert "`kedro run --pipelines augment,train_foreground`" in text
    for name in ("nuclei-fluo (", "2D_paper_dsb2018", "--pipeline train`"):  # are for segmenters
        assert name not in text
    assert f"Did you mean {meant}?" in text if meant else "Did you mean" not in text
    if asked != "mine":
        assert "predict.full.foreground_model" in text
        assert "tune_postprocessing.foreground_model" in text


def test_a_missing_foreground_model_behind_a_url_names_its_pipeline(here: Path) -> None:
    (here / "elsewhere").mkdir()
    with pytest.raises(KaryosegError, match=r"no foreground model there.*augment,train_foreground"):
        load_foreground((here / "elsewhere").as_uri())


def test_a_revision_outside_of_a_repository_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(here.parent))
    with pytest.raises(KaryosegError, match="needed: a git repository"):
        model_folder("mine@1.0")


@pytest.mark.parametrize("name", ["user@host/models/nuclei", "models/nuclei@1.2"])
def test_a_missing_folder_with_an_at_in_no_project_is_missing(here: Path, tmp_path: Path, name: str) -> None:
    (here / "project").mkdir()
    with pytest.raises(KaryosegError, match=rf"{name}: no model there; needed: .*FOLDER@VERSION"):
        model_folder(str(tmp_path / name), here / "project")
