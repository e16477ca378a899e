"""Call a function of the judge for a learner's code, on plain data and within limits."""

import contextlib
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autograder.errors import WireError
from autograder.student.limits import MB, Limits, address_space
from autograder.student.observe import plain
from autograder.student.probes import Oracle
from autograder.student.wire import encode

#: What an oracle may allocate beyond what the judge has.
_ORACLE_MEMORY = 1024 * MB


@dataclass
class Budget:
    """What one call may still ask of oracles."""

    limits: Limits
    calls: int = 0
    seconds: float = 0.0


class TooLongError(Exception):
    """An oracle was asked for more than it may take."""


def consult(oracles: Sequence[Oracle], message: dict[str, Any], budget: Budget) -> dict[str, Any]:
    """Answer a learner's call of an oracle.

    Parameters
    ----------
    message : `oracle` (an index), `args` (a list) and `kwargs` (a dict) as the student process sent them

    Returns
    -------
    {"value": plain data} or {"error": a type's name, "message": its text}

    Raises
    ------
    WireError : the message asks for no oracle
    """
    index, args, kwargs = message["oracle"], message.get("args"), message.get("kwargs")
    if type(index) is not int or not 0 <= index < len(oracles) or type(args) is not list or type(kwargs) is not dict:
        raise WireError("a call of no oracle")
    if not all(type(k) is str for k in kwargs):
        raise WireError("a call of an oracle with a strange keyword")
    budget.calls += 1
    left = budget.limits.oracle_seconds - budget.seconds
    if budget.calls > budget.limits.oracle_calls or left <= 0:
        return {"error": "RuntimeError", "message": "this function was called too often"}
    began = time.monotonic()
    try:
        with _bounded(left), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # a warning would show a line of the hidden implementation
            value = _travels(oracles[index](*args, **kwargs))
        encode(value, limits=budget.limits)
        return {"value": value}
    except TooLongError as error:
        return {"error": "RuntimeError", "message": str(error)}
    except Exception as error:  # the learner's code shall see that it failed; the text would tell how the function is written
        kind = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
        return {"error": kind.__name__, "message": "this function fails on these arguments"}
    finally:
        budget.seconds += time.monotonic() - began


def _travels(value: Any) -> Any:
    """Plain data, in which tensors stay tensors."""
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return value
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(_travels(v) for v in value)
    if isinstance(value, dict):
        return {k: _travels(v) for k, v in value.items()}
    return plain(value)


def without_tensors(value: Any) -> Any:
    """The same plain data with arrays in the place of tensors."""
    if isinstance(value, (list, tuple)):
        return type(value)(without_tensors(v) for v in value)
    if isinstance(value, dict):
        return {k: without_tensors(v) for k, v in value.items()}
    return plain(value) if hasattr(value, "detach") else value


@contextlib.contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Stop what runs after `seconds`, and keep it from taking the machine's memory. Only a main thread can be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with _little_memory():
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _too_long(*_: object) -> None:
    raise TooLongError("this function takes too long on these arguments")


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    import resource

    used = address_space()
    if not used:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = used + _ORACLE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
