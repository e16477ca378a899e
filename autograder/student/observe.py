"""Call a submission on one case and describe what happened in plain data.

This is the narrow interface between a verdict and a learner's function: a probe and a call go in, an `Observation` comes out. The
judge sees nothing else of a submission.
"""

import copy
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

#: How deep a probe's result may nest.
MAX_DEPTH = 20
_NUMPY_KNOWS = {f"torch.{kind}" for kind in ("bool", "uint8", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128")}
_ATOMS = {type(None), bool, int, float, complex, str, bytes}


class NotPlainError(TypeError):
    """A probe returned something that is not plain data."""


@dataclass(frozen=True)
class Call:
    """One case: the arguments of one call."""

    args: tuple = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What one call did.

    Attributes
    ----------
    value : plain data, None if the call raised
    error : name of the exception's type, or None. Outside of Python's own: "time", "memory", "died".
    message : the exception's text
    where : the learner's own lines of the traceback, innermost last
    warnings : texts of floating-point warnings (RuntimeWarning)
    changed : which arguments were changed by the call, as "argument 1" or a keyword
    """

    value: Any = None
    error: str | None = None
    message: str = ""
    where: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as plain data: None, bool, int, float, complex, str, arrays (tensors become arrays), lists, tuples, dicts.

    Raises
    ------
    NotPlainError : for anything else, for arrays of objects, and beyond `MAX_DEPTH` levels
    """
    if depth > MAX_DEPTH:
        raise NotPlainError("the result nests too deep")
    if value is None or type(value) in (bool, int, float, complex, str):
        return value
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach"):
        return plain(tensor_to_array(value), depth)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufcU":
            raise NotPlainError(f"the result is an array of dtype {value.dtype}")
        return np.array(value, order="C", subok=False)
    if isinstance(value, (list, tuple)):
        kind = tuple if isinstance(value, tuple) else list
        return kind(plain(v, depth + 1) for v in value)
    if isinstance(value, Mapping):
        return {k if isinstance(k, (str, int)) else str(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (bool, int, float, str)):
        return plain(value.__class__.__mro__[-2](value), depth)
    raise NotPlainError(f"the result is of type {type(value).__name__}")


def tensor_to_array(value: Any) -> np.ndarray:
    """A torch tensor's values; bfloat16, which NumPy lacks, as float32."""
    value = value.detach().cpu()
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()
    return value.resolve_conj().resolve_neg().numpy()


def namespace(names: Mapping[str, Any]) -> SimpleNamespace:
    """A submission as probes see it: its names as attributes."""
    return SimpleNamespace(**names)


def observe(probe: Callable, submission: Any, call: Call, learner_files: Callable[[str], bool]) -> Observation:
    """Run `probe(submission, *args, **kwargs)` on a private copy of the arguments.

    Parameters
    ----------
    learner_files : tells whether a traceback's file name holds learner's code; other lines are left out
    """
    given = _copied(call)
    strayed: dict[str, None] = {}  # in order, each once

    def note(kind: str, flag: int) -> None:
        text = f"{kind} encountered"
        strayed[text] = None  # whatever becomes of the warning
        warnings.warn(text, RuntimeWarning, stacklevel=2)  # who has made errors of warnings gets them

    with (
        warnings.catch_warnings(record=True) as caught,
        np.errstate(divide="call", over="call", invalid="call", under="ignore", call=note),
    ):
        warnings.simplefilter("always")
        try:
            value = plain(probe(submission, *given.args, **given.kwargs))
        except MemoryError:
            return Observation(error="memory", message="The code asked for more memory than it may have.")
        except (Exception, SystemExit) as error:
            return Observation(error=type(error).__name__, message=_text(error), where=_learner_lines(error, learner_files))
    others = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    return Observation(
        value=value,
        warnings=tuple(dict.fromkeys([*strayed, *others])),
        changed=_changed(call, given),
    )


def _copied(call: Call) -> Call:
    """What `copy.deepcopy` gives, in a fraction of its time for arrays and plain containers."""
    memo: dict[int, Any] = {}
    return Call(_copy(call.args, memo), _copy(call.kwargs, memo))


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in memo:  # the same object twice stays the same object
        return memo[id(value)]
    if kind is np.ndarray and not value.dtype.hasobject:
        new: Any = value.copy(order="K")
    elif kind is tuple:
        new = tuple(_copy(v, memo) for v in value)
    elif kind is list:
        new = [_copy(v, memo) for v in value]
    elif kind is dict:
        new = {k: _copy(v, memo) for k, v in value.items()}
    elif is_bare_tensor(value):
        new = value.clone()
    else:
        new = copy.deepcopy(value, memo)
    memo[id(value)] = new
    return new


def is_bare_tensor(value: Any) -> bool:
    """Whether this is a tensor that is no more than its numbers, which NumPy knows and which lie one behind the other."""
    return (
        (type(value).__module__, type(value).__name__) == ("torch", "Tensor")
        and value.device.type == "cpu"
        and not (value.requires_grad or value.is_sparse or value.is_quantized or value.is_neg() or value.is_conj() or vars(value))
        and str(value.dtype) in _NUMPY_KNOWS
        and value.is_contiguous()
        and value.untyped_storage().nbytes() == value.nbytes
    )


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:  # a learner's own __str__ may fail
        return ""


def _learner_lines(error: BaseException, learner_files: Callable[[str], bool]) -> tuple[str, ...]:
    frames = traceback.extract_tb(error.__traceback__)
    return tuple(f"line {f.lineno}, in {f.name}: {(f.line or '').strip()}"[:300] for f in frames if learner_files(f.filename))[-5:]


def _changed(before: Call, after: Call) -> tuple[str, ...]:
    names = [f"argument {i + 1}" for i in range(len(before.args))]
    pairs = [*zip(names, before.args, after.args), *((k, before.kwargs[k], after.kwargs[k]) for k in before.kwargs)]
    return tuple(name for name, old, new in pairs if not _same(old, new))


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, (list, tuple)):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_same(old[k], new[k]) for k in old)
    if type(old) is not np.ndarray or type(new) is not np.ndarray or old.dtype.hasobject:
        try:
            old, new = plain(old), plain(new)
        except NotPlainError:
            return True  # callables and modules are not compared
    if isinstance(old, np.ndarray):
        return old.shape == new.shape and old.dtype == new.dtype and old.tobytes() == new.tobytes()
    return old == new or old != old
