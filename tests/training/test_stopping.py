"""A run that was asked to stop is not killed by being asked again."""

import os
import signal

import pytest

from training.stopping import StopRequest


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    request = StopRequest()
    yield request
    for number, handler in before.items():
        signal.signal(number, handler)


def test_schedulers_send_several(stop):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received == "SIGTERM"
    stop.forget()
    os.kill(os.getpid(), signal.SIGTERM)  # while the process ends


def test_a_second_interrupt_is_obeyed(stop):
    os.kill(os.getpid(), signal.SIGINT)
    assert stop.received == "SIGINT"
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_without_a_request_the_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    StopRequest().forget()
    assert signal.getsignal(signal.SIGTERM) is before
