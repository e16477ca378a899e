"""How a question travels to the student process: calls are pickled there (never back), oracles stay behind.

Only the judge pickles, and only the student process unpickles.
"""

import builtins
import inspect
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np

from autograder.student.observe import Call, is_bare_tensor
from autograder.student.probes import Oracle


@dataclass(frozen=True)
class Packed:
    """Calls that are pickled once and asked of many submissions.

    Attributes
    ----------
    calls : the calls themselves
    data : the pickled calls
    oracles : the functions that stayed behind; the data names them by position
    """

    calls: Sequence[Call]
    data: bytes
    oracles: tuple[Oracle, ...] = ()

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)


class _Pickler(cloudpickle.Pickler):
    def __init__(self, file: io.BytesIO, oracles: list[Oracle]) -> None:
        super().__init__(file)
        self.left_behind = oracles

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Oracle):
            return None
        index = next((i for i, known in enumerate(self.left_behind) if known is obj), len(self.left_behind))
        if index == len(self.left_behind):
            self.left_behind.append(obj)
        return index, obj.__name__, obj.__signature__

    def reducer_override(self, obj: Any) -> Any:
        if is_bare_tensor(obj):
            return _tensor, (obj.numpy(),)  # PyTorch's own way writes a file format for each: ten times as slow
        return super().reducer_override(obj)


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, ask: Callable[[int, tuple, dict], Any]) -> None:
        super().__init__(file)
        self.ask = ask

    def persistent_load(self, pid: Any) -> Any:
        return Proxy(self.ask, *pid)


def pack(calls: Sequence[Call]) -> Packed:
    """Pickle calls, oracles left out."""
    oracles: list[Oracle] = []
    file = io.BytesIO()
    _Pickler(file, oracles).dump(list(calls))
    return Packed(calls, file.getvalue(), tuple(oracles))


def unpack(data: bytes, ask: Callable[[int, tuple, dict], Any]) -> list[Call]:
    """The calls, with a proxy in the place of each oracle, that calls `ask(index, args, kwargs)`. For the student process only."""
    return _Unpickler(io.BytesIO(data), ask).load()


class Proxy:
    """An oracle as the learner's code sees it: a function that is answered by the judge."""

    def __init__(self, ask: Callable[[int, tuple, dict], Any], index: int, name: str, signature: inspect.Signature | None) -> None:
        self._ask, self._index = ask, index
        self.__name__, self.__signature__ = name, signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask(self._index, tuple(map(_number, args)), {name: _number(value) for name, value in kwargs.items()})

    def __deepcopy__(self, memo: dict) -> "Proxy":
        return self


def _number(value: Any) -> Any:
    """A number of NumPy's as one of Python's: on its way it would become an array, which is no axis."""
    return value.item() if isinstance(value, np.generic) else value


def exception(name: str, text: str) -> Exception:
    """An exception of Python's own type `name`; a RuntimeError where there is no such type."""
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return RuntimeError(f"{name}: {text}")
    try:
        return kind(text)
    except TypeError:  # UnicodeDecodeError and its like want more arguments
        return RuntimeError(f"{name}: {text}")
