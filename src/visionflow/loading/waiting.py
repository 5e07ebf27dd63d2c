"""Waiting for somebody else's computer: said when it takes a while, and given up as a whole."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

_PATIENCE_S = 2.0
_log = logging.getLogger(__name__)

T = TypeVar("T")


def within(seconds: float, what: str, work: Callable[[], T]) -> T:
    """What `work` gives, in `seconds` as a whole: a socket's time-out holds for one read, and for no name lookup.

    After two seconds the log says on `what` we wait (on standard error, unless logging is set up otherwise). Work that
    takes too long is left alone: its thread ends with it, or with the process.

    Raises:
        TimeoutError: it took too long.
        Exception: what `work` raises.
    """
    future: Future[T] = Future()
    Thread(target=_into, args=(future, work), daemon=True).start()
    if wait([future], min(_PATIENCE_S, seconds)).not_done:
        _log.warning("%s (%g s at most)", what, seconds)
    if wait([future], max(0.0, seconds - _PATIENCE_S)).not_done:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return future.result()


def _into(future: "Future[T]", work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # whoever waits raises it
        future.set_exception(error)
