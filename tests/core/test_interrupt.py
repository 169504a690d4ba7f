"""Signals: the first asks for an orderly stop, the second interrupts, then all is as before."""

import os
import signal
import time

import pytest

from rlgen.core.interrupt import StopSignal

NUMBERS = [signal.SIGINT, signal.SIGTERM]


def send(number):
    os.kill(os.getpid(), number)
    time.sleep(0.02)  # handlers run between two instructions of this thread


@pytest.fixture(autouse=True)
def seen():
    """Signals that reach the handlers from before the block, which these tests put there."""
    numbers = []
    before = {n: signal.signal(n, lambda number, _: numbers.append(number)) for n in NUMBERS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_without_a_signal_nothing_stops():
    with StopSignal() as stop:
        assert not stop.stopped


@pytest.mark.parametrize("number", NUMBERS)
def test_a_first_signal_asks_for_a_stop(number, seen):
    with StopSignal() as stop:
        send(number)
        assert stop.stopped
    assert stop.stopped  # a session asks after the loop has ended
    assert seen == []


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", NUMBERS)
def test_a_second_signal_interrupts_at_once(first, second, seen):
    with StopSignal() as stop:
        send(first)
        assert stop.stopped
        with pytest.raises(KeyboardInterrupt):
            send(second)
    assert seen == []


@pytest.mark.parametrize("number", NUMBERS)
def test_the_handlers_from_before_come_back(number, seen):
    with StopSignal() as stop:
        pass
    send(number)
    assert seen == [number]
    assert not stop.stopped


@pytest.mark.parametrize("number", NUMBERS)
def test_the_handlers_come_back_after_an_error(number, seen):
    with pytest.raises(ZeroDivisionError), StopSignal():
        raise ZeroDivisionError
    send(number)
    assert seen == [number]


def test_a_new_block_starts_unstopped():
    with StopSignal():
        send(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop.stopped
