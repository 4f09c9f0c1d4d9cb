"""A lock that is taken in turns."""

import threading
import time

from steersman.model.turns import Turns


def test_it_can_be_taken_again_by_the_thread_that_has_it():
    lock, told = Turns(), []

    def other():
        with lock:
            told.append("other")

    with lock, lock:
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.05)
        told.append("own")
    thread.join(10)
    assert told == ["own", "other"]


def test_a_loop_that_takes_it_again_at_once_keeps_nobody_out():
    lock, ended, taken = Turns(), threading.Event(), []

    def loop():
        while not ended.is_set():
            with lock:
                taken.append(1)
                time.sleep(0.002)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        for _ in range(10):
            before = len(taken)
            with lock:
                # Whoever was inside, and at most one who came to the door before.
                assert len(taken) - before <= 2
            time.sleep(0.005)
    finally:
        ended.set()
        thread.join(10)


def test_only_one_thread_at_a_time_is_inside():
    lock, inside, most = Turns(), [], []

    def work():
        for _ in range(200):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 1200
    assert max(most) == 1
