"""Clocks that tell what a test says, so that no test looks at a real one."""

from collections.abc import Callable


class FakeClock:
    """Laps by the number of marks and by whatever runs at present."""

    def __init__(self, seconds: Callable[[int], list[float]]) -> None:
        self._seconds = seconds
        self._marks = 0

    def mark(self) -> None:
        """Count."""
        self._marks += 1

    def laps(self) -> list[float]:
        """As many as there were marks, less one."""
        marks, self._marks = self._marks, 0
        laps = self._seconds(marks - 1)
        assert len(laps) == marks - 1
        return laps
