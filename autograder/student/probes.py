"""What may travel into the learner's process besides a chapter's own probes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CallFunction:
    """The default probe: call the one function that the learner defines."""

    name: str

    def __call__(self, submission: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(submission, self.name)(*args, **kwargs)


@dataclass(frozen=True)
class RunCheck:
    """The probe of write-the-test exercises: does the learner's check accept an implementation?

    Returns True if the check passes, False if it raises, whatever it raises: an implementation that makes a check crash is caught too.
    """

    name: str

    def __call__(self, submission: Any, implementation: Callable) -> bool:
        check = getattr(submission, self.name)
        try:
            check(implementation)
        except NotImplementedError:
            raise
        except BaseException:  # `sys.exit` and `pytest.fail` raise others than Exception
            return False
        return True


class Oracle:
    """A function of the judge that a learner's code may call but never see.

    In one process it simply calls the function. It does not travel: the student process puts a proxy in its place.

    Parameters
    ----------
    name, signature : what it shows of itself; the same for all functions that a learner's code must tell apart
    """

    def __init__(self, function: Callable, name: str = "function", signature: inspect.Signature | None = None) -> None:
        self._function = function
        self.__name__, self.__signature__ = name, signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __deepcopy__(self, memo: dict) -> "Oracle":
        return self

    def __reduce__(self) -> Any:
        raise TypeError("an Oracle stays in the judge")


@dataclass(frozen=True)
class ReadName:
    """Gives what a submission left under a name, such as an answer sheet; None if there is nothing."""

    name: str

    def __call__(self, submission: Any) -> Any:
        return getattr(submission, self.name, None)
