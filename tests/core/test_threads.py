"""Working in threads: nothing is lost, no more is begun than allowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from karyoseg.core.threads import Room, map_completed, n_threads


@pytest.mark.parametrize("threads", [1, 3, 50])
def test_every_item_once(threads: int) -> None:
    assert sorted(map_completed(lambda x: x * x, range(20), threads)) == [x * x for x in range(20)]


def test_no_more_are_begun_than_there_are_threads() -> None:
    begun: list[int] = []
    results = map_completed(lambda x: begun.append(x) or x, iter(range(100)), 4)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 5
    results.close()
    assert len(begun) <= 5


def test_a_failure_is_raised_and_nothing_more_is_begun() -> None:
    begun = []

    def compute(item: int) -> int:
        begun.append(item)
        if item == 5:
            raise ValueError("five")
        return item

    with pytest.raises(ValueError, match="five"):
        list(map_completed(compute, range(100), 2))
    assert len(begun) <= 8


def test_what_was_begun_beside_a_failure_is_given() -> None:
    slow = threading.Event()

    def compute(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        slow.wait(0.05)
        return item

    given: list[int] = []
    with pytest.raises(ValueError, match="one"):
        given.extend(map_completed(compute, range(100), 3))
    assert {0, 2} <= set(given)


def test_an_interrupt_ends_maps_inside_the_threads() -> None:
    """Else a large image would be predicted to its end before Ctrl-C counts."""
    begun: list[int] = []
    first = threading.Event()

    def block(number: int) -> int:
        begun.append(number)
        first.set()
        time.sleep(0.01)
        return number

    def image(_: int) -> list[int]:
        return list(map_completed(block, range(1000), 2))

    def images() -> Iterator[int]:
        yield 0
        first.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_completed(image, images(), 2))
    assert 1 <= len(begun) < 100
    assert sorted(map_completed(lambda number: number, range(3), 2)) == [0, 1, 2]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_of_several_failures_the_first_item_s_is_raised(threads: int) -> None:
    def compute(item: int) -> int:
        time.sleep(0.02 if item == 3 else 0)
        if item >= 3:
            raise ValueError(f"item {item}")
        return item

    with pytest.raises(ValueError, match="item 3"):
        list(map_completed(compute, range(20), threads))


def test_room_is_never_exceeded_but_by_a_single_one() -> None:
    room, held, most = Room(10), [], []
    lock = threading.Lock()

    def hold(amount: int) -> None:
        with room.take(amount):
            with lock:
                held.append(amount)
                most.append(list(held))
            time.sleep(0.002)
            with lock:
                held.remove(amount)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hold, [3, 4, 2, 25, 6, 1, 9, 30, 5, 5, 2] * 3))
    assert all(sum(together) <= 10 or len(together) == 1 for together in most)
    assert any(len(together) > 1 for together in most)


def test_room_is_given_back_after_an_error() -> None:
    room = Room(1)
    with pytest.raises(ValueError, match="x"), room.take(1):
        raise ValueError("x")
    taken = threading.Event()

    def take() -> None:
        with room.take(1):
            taken.set()

    threading.Thread(target=take, daemon=True).start()  # in a thread, for whoever gets no room waits for ever
    assert taken.wait(30)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (6, 6), (64, 8)])
def test_one_thread_per_core_but_not_more_than_8(monkeypatch: pytest.MonkeyPatch, cores: int, threads: int) -> None:
    monkeypatch.setattr("karyoseg.core.threads.cpu_count", lambda: cores)
    assert n_threads() == threads
