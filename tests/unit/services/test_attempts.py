from services.feedback.attempts import Attempts


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_name_that_failed_too_often_waits_until_the_window_is_over() -> None:
    clock = Clock()
    attempts = Attempts(most=2, window_seconds=60, clock=clock)
    attempts.failed("ada")
    assert attempts.wait_seconds("ada") == 0
    clock.now += 10
    attempts.failed("ada")
    assert attempts.wait_seconds("ada") == 50
    assert attempts.wait_seconds("bob") == 0
    clock.now += 50
    assert attempts.wait_seconds("ada") == 0
    attempts.failed("ada")
    assert attempts.wait_seconds("ada") == 0


def test_a_success_wipes_the_slate() -> None:
    attempts = Attempts(most=1)
    attempts.failed("ada")
    assert attempts.wait_seconds("ada") > 0
    attempts.succeeded("ada")
    assert attempts.wait_seconds("ada") == 0


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    attempts = Attempts(most=1)
    for number in range(10_001):
        attempts.failed(str(number))
    assert attempts.wait_seconds("0") == 0
    assert attempts.wait_seconds("1") > 0
