"""Images that are prepared when there is room for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from karyoseg.models import whole_image
from karyoseg.models.whole_image import preparing
from recipes import OnlyRescaled


class NotedRoom:
    """Notes what is taken and given back."""

    def __init__(self) -> None:
        self.notes: list[float] = []

    @contextmanager
    def take(self, amount: float) -> Iterator[None]:
        """Note it."""
        self.notes.append(amount)
        try:
            yield
        finally:
            self.notes.append(-amount)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> NotedRoom:
    """The room that there is."""
    room = NotedRoom()
    monkeypatch.setattr(whole_image, "PIXELS_SEEN", room)
    return room


def test_room_is_taken_before_an_image_is_prepared_and_for_a_larger_scale_anew(room: NotedRoom) -> None:
    image = np.ones((20, 30), np.uint8)
    with preparing(OnlyRescaled(), image, "a.tif") as prepare:
        assert room.notes == []
        assert prepare(0.5).shape == (10, 15)
        assert room.notes == [600]
        assert prepare(2.0).shape == (40, 60)
        assert prepare(1.0, np.s_[5:15, :10]).shape == (10, 10)
        assert room.notes == [600, -600, 2400]
    assert room.notes == [600, -600, 2400, -2400]


def test_no_image_is_prepared_before_there_is_room(room: NotedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(*_: object, **__: object) -> np.ndarray:
        assert room.notes == [48]
        raise MemoryError

    monkeypatch.setattr(OnlyRescaled, "apply", apply)
    with pytest.raises(MemoryError), preparing(OnlyRescaled(), np.ones((4, 4, 3)), "a.tif") as prepare:
        prepare(0.5)
    assert room.notes == [48, -48]
