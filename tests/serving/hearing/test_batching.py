from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tenuto.serving.hearing.batching import Batcher, BusyError, _Question
from tenuto.serving.hearing.classifier import Heard
from tenuto.serving.settings import BatchSettings
from tests.bundles import FRAMING, SAMPLE_RATE_HZ

SECONDS = 10
"""After which a test that waits for what never comes fails."""


class Listener:
    """Stands in for a classifier: its probability of a clip is the clip's first sample; it may be held up."""

    def __init__(self) -> None:
        self.framing = FRAMING
        self.batches: list[list[float]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_listening = threading.Event()

    def hear(self, waves: list[Any]) -> Heard:
        self.is_listening.set()
        assert self.may_go_on.wait(SECONDS)
        firsts = [float(wave[0]) for wave in waves]
        self.batches.append(firsts)
        if -1 in firsts:
            raise RuntimeError("cannot hear this")
        column = np.array(firsts)[:, None]
        return Heard(column, column > 0, column.astype(np.float32), column[:, 0], column[:, 0] > 1)


def clip(mark: float, seconds: float = 0.25) -> Any:
    return np.full(round(seconds * SAMPLE_RATE_HZ), mark, np.float32)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def batcher() -> Iterator[Callable[..., Batcher]]:
    made: list[Batcher] = []

    def make(**options: Any) -> Batcher:
        settings = BatchSettings(max_clips=options.pop("max_clips", 8), max_wait_ms=options.pop("max_wait_ms", 0))
        made.append(Batcher(settings, **{"max_waiting": 100, "threads": 1} | options))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def held_up(batcher: Batcher, listener: Listener) -> Any:
    """The future of a clip that a thread is busy with until `may_go_on`."""
    listener.may_go_on.clear()
    listener.is_listening.clear()
    future = batcher.submit(listener, [clip(9)])
    assert listener.is_listening.wait(SECONDS)
    return future


def firsts(future: Any) -> list[float]:
    return [float(value) for value in future.result(SECONDS).probabilities[:, 0]]


def test_clips_that_wait_are_heard_together_and_everybody_gets_his_own(batcher: Any, listener: Listener) -> None:
    queue = batcher()
    first = held_up(queue, listener)
    asked = [queue.submit(listener, [clip(n), clip(n + 0.5)]) for n in range(1, 4)]
    assert queue.waiting == 6
    listener.may_go_on.set()
    assert [firsts(future) for future in asked] == [[1, 1.5], [2, 2.5], [3, 3.5]]
    assert firsts(first) == [9]
    assert listener.batches == [[9], [1, 1.5, 2, 2.5, 3, 3.5]]


def test_a_batch_has_at_most_so_many_clips_and_one_length(batcher: Any, listener: Listener) -> None:
    queue = batcher(max_clips=2)
    held_up(queue, listener)
    asked = [queue.submit(listener, [clip(1), clip(2, seconds=2), clip(3), clip(4)])]
    listener.may_go_on.set()
    assert firsts(asked[0]) == [1, 2, 3, 4]
    assert sorted(map(sorted, listener.batches[1:])) == [[1, 3], [2], [4]]


def test_a_clip_waits_for_no_other_length_and_no_longer_than_it_may(batcher: Any, listener: Listener) -> None:
    queue = batcher(threads=2, max_wait_ms=20)
    held_up(queue, listener)
    other = Listener()
    # the first thread stays busy for longer than this waits
    assert queue.submit(other, [clip(1, seconds=2)]).result(SECONDS / 4).probabilities.tolist() == [[1]]
    listener.may_go_on.set()


def test_taking_in_the_parts_of_an_answer_costs_the_same_for_each() -> None:
    joined: list[int] = []
    part = Listener().hear([clip(1)])

    class Parts(dict[int, Heard]):
        def __iter__(self) -> Iterator[int]:
            raise AssertionError("one part is not to be looked for among all")

        def __getitem__(self, position: int) -> Heard:
            joined.append(position)
            return super().__getitem__(position)

    question = _Question(300, Parts())
    for position in reversed(range(300)):
        assert not question.answer.done()
        question.put(position, part)
    assert question.answer.done() and joined == [*range(300)]


def test_what_has_waited_longest_goes_first(batcher: Any, listener: Listener) -> None:
    queue = batcher(max_clips=3)
    held_up(queue, listener)
    rare = queue.submit(listener, [clip(1, seconds=2)])
    frequent = [queue.submit(listener, [clip(n)]) for n in range(2, 8)]
    listener.may_go_on.set()
    for future in (rare, *frequent):
        future.result(SECONDS)
    assert listener.batches == [[9], [1], [2, 3, 4], [5, 6, 7]]


def test_too_many_waiting_clips_are_refused_at_once_and_later_ones_are_not(batcher: Any, listener: Listener) -> None:
    queue = batcher(max_waiting=2)
    held_up(queue, listener)
    queue.submit(listener, [clip(1), clip(2)])
    with pytest.raises(BusyError):
        queue.submit(listener, [clip(3)])
    listener.may_go_on.set()
    queue.stop()
    assert queue.waiting == 0


def test_an_error_reaches_those_in_the_batch_and_nobody_else(batcher: Any, listener: Listener) -> None:
    queue = batcher()
    with pytest.raises(RuntimeError, match="cannot hear this"):
        queue.submit(listener, [clip(-1)]).result(SECONDS)
    assert firsts(queue.submit(listener, [clip(1)])) == [1]


def test_stopping_hears_what_waits_and_takes_no_more(batcher: Any, listener: Listener) -> None:
    queue = batcher()
    held_up(queue, listener)
    asked = [queue.submit(listener, [clip(n)]) for n in range(1, 30)]
    listener.may_go_on.set()
    queue.stop()
    assert [firsts(future) for future in asked] == [[n] for n in range(1, 30)]
    with pytest.raises(BusyError):
        queue.submit(listener, [clip(1)])


def test_many_threads_lose_and_mix_up_nothing(batcher: Any, listener: Listener) -> None:
    queue = batcher(threads=3, max_wait_ms=1, max_waiting=10_000)
    wrong: list[Any] = []

    def ask(mark: int) -> None:
        for n in range(20):
            wanted = [mark + n / 32, mark + n / 32 + 0.5]
            if firsts(queue.submit(listener, [clip(wanted[0]), clip(wanted[1], 0.3 + mark % 3)])) != wanted:
                wrong.append(wanted)

    threads = [threading.Thread(target=ask, args=(mark,)) for mark in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(map(len, listener.batches)) == 16 * 20 * 2
