"""Who runs a model inside a scope, thread by thread, so that the scope is not taken off under anyone."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from visionflow.errors import UnsupportedUsageError

_LOOK_AGAIN = 1.0  # seconds: a thread may die without a word


class Running:
    """The threads that generate or run a forward pass inside one scope.

    Attributes:
        left: the scope was taken off; nobody is inside any more.
    """

    def __init__(self) -> None:
        self.left = False
        self._changed = threading.Condition()
        self._generating: Counter[threading.Thread] = Counter()
        self._passing: set[threading.Thread] = set()

    @contextmanager
    def generation(self) -> Iterator[None]:
        """A call of `generate`, to its end.

        Raises:
            UnsupportedUsageError: the scope was left.
        """
        if not self._come(self._generating.update):
            raise UnsupportedUsageError(
                "this generate was taken from a model inside a pruning scope that was left before it began: begin it "
                "inside the scope, or call model.generate anew"
            )
        try:
            yield
        finally:
            with self._changed:
                self._generating -= Counter([threading.current_thread()])
            self.end_pass()

    def begin_pass(self) -> bool:
        """Whether a forward pass that begins now is inside the scope: False for one that came as it was taken off."""
        return self._come(self._passing.update)

    def end_pass(self) -> None:
        """A forward pass of this thread is over."""
        with self._changed:
            self._passing.discard(threading.current_thread())
            self._changed.notify_all()

    def leave(self, take_off: Callable[[], None]) -> None:
        """Take the scope off when no other thread is inside, or when the wait for that is interrupted."""
        with self._changed:
            try:
                while self._others():
                    self._changed.wait(_LOOK_AGAIN)
            finally:
                self.left = True
                take_off()

    def _others(self) -> bool:
        inside = self._passing | self._generating.keys()
        return any(thread.is_alive() for thread in inside if thread is not threading.current_thread())

    def _come(self, note: Callable[[list[threading.Thread]], None]) -> bool:
        with self._changed:
            if not self.left:
                note([threading.current_thread()])
            return not self.left
