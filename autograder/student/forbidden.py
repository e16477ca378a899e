"""Keep learner's code from calling what a task rules out, under whatever name.

A first line of defence is the text of a solution (`autograder.forbid`). This is the second: while a learner's code runs, the
forbidden functions raise `ForbiddenError` if learner's code reaches them: as a function, as a method, through an alias, through
`getattr`, through `nn.Softmax`. What libraries call among themselves is not concerned. Python lets nobody be stopped from
digging deeper; what is promised is that nobody gets around it by accident or by a search on the web.
"""

import _thread
import builtins
import contextvars
import ctypes
import functools
import gc
import importlib
import os
import re
import sys
import sysconfig
import tempfile
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from autograder.student import origins
from autograder.student import substitutes as making
from autograder.student.substitutes import EVERYBODY, NOBODY, PACKAGES, Finder, Hidden, Substitutes, substitutes, torch_mode

_NOTHING = object()
_OWN_CODE = (__file__, making.__file__, origins.__file__)
_STANDARD = os.path.join(sysconfig.get_path("stdlib"), "")
#: Code of Python's own that imports and calls what it is told to, as `singledispatch` and `pkgutil.resolve_name` do.
_HANDS_ON = tuple(
    os.path.join(_STANDARD, *name.split("/"))
    for name in (
        "functools.py", "contextlib.py", "pkgutil.py", "pydoc.py", "timeit.py", "threading.py", "concurrent/futures/thread.py",
        "importlib/__init__.py", "importlib/util.py",
    )
)  # fmt: skip
_INSTALLED = re.compile(f".*/{PACKAGES}/")
#: Libraries that compute with angles and logarithms to draw, for themselves, but for what hands on calls there, as `FuncFormatter` does.
_DRAWS = re.compile(_INSTALLED.pattern + r"(?:matplotlib/(?!(?:ticker|mlab|cbook)\.py)|mpl_toolkits/|PIL/|fontTools/)")


class ForbiddenError(RuntimeError):
    """The task rules out what was called."""


class _Missing(ForbiddenError, ImportError):
    """The same for a module that is not there. Libraries go on without it."""


_Missing.__name__ = "ForbiddenError"  # what the judge knows it by


class Forbidden:
    """What one task rules out.

    Parameters
    ----------
    forbid : dotted name → why. "torch" rules out a module, "torch.softmax" a function
    learner_files : tells whether a traceback's file name holds learner's code that this is meant for
    setup : the code of the set-up cell, which may do what a learner may not
    """

    def __init__(self, forbid: Mapping[str, str], learner_files: Callable[[str], bool], setup: Iterable[types.CodeType] = ()) -> None:
        self.why = dict(forbid)
        self.learner_files = learner_files
        self.setup = {id(code): code for code in setup}  # kept, so that no other code gets its id
        self.active = self.loading = False
        self.made: set[str] = set()  # file names of code that is learner's, whatever they say
        self.work = os.path.join(tempfile.gettempdir(), "")
        self._undo: list[Callable[[], Any]] = []
        self._loaded = -1

    @contextmanager
    def watching(self, names: dict[str, Any], *, loading: bool = False) -> Iterator[None]:
        """While a learner's code runs, and from then on: what is forbidden raises when that code reaches it, until `restore`.

        Parameters
        ----------
        names : the globals of the learner's code, the same ones each time
        loading : whether it is the cell that runs, which may draw, and not what it defines
        """
        self.loading = loading
        if self._loaded != len(sys.modules):  # what is imported brings further homes
            self.restore()
            self._patch(names, self._undo)
            self._loaded = len(sys.modules)
        self.active = True  # from here on: a thread may wait until nobody watches
        yield

    def restore(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()
        origins.watch(None)
        self._loaded, self.active = -1, False

    def _patch(self, names: dict[str, Any], undo: list) -> None:
        if not self.why:
            return
        found = substitutes(tuple(self.why), len(sys.modules))
        found.rules = self
        if found.modules:
            self._guard_imports(found, undo)
        for owner, name, substitute in found.held.values():
            _set(owner, name, substitute, undo)
        _set_methods(found.methods, undo)
        self._rename(found, names, undo)
        self._unload(found, undo)
        origins.watch(self)
        sys.meta_path.insert(0, Finder(found, self._error))
        undo.append(functools.partial(sys.meta_path.pop, 0))
        mode: Callable = nullcontext
        if {n.partition(".")[0] for n in self.why} & {"torch", "numpy"} and "torch" in sys.modules:
            mode = functools.partial(torch_mode(), found)
            entered = mode()
            entered.__enter__()
            undo.append(functools.partial(entered.__exit__, None, None, None))
        _guard_threads(mode, undo)

    def refuse(self, name: str) -> None:
        """Raise that `name` is ruled out."""
        raise ForbiddenError(self._sentence(name))

    def _sentence(self, name: str) -> str:
        why = self.why.get(name)
        return f"{name} is ruled out in this task{': ' + why if why else ''}. Build it yourself."

    def _error(self, name: str) -> Exception:
        return _Missing(self._sentence(name))

    def reached(self, *, but_for: re.Pattern = NOBODY) -> bool:
        """Whether learner's code is the caller, directly, or through functions that hand calls on: any library's but those of `but_for`.

        Libraries that draw compute with angles, and a cell may draw while it is loading.
        """
        frame = sys._getframe(1)
        while frame:
            file = frame.f_code.co_filename
            if id(frame.f_code) in self.setup:
                return False
            if self.learner_files(file) or file in self.made or self._is_own(file, frame.f_globals):
                return True
            handed_on = file.startswith("<") or file in _OWN_CODE or _hands_on(file, but_for)
            if not handed_on or (self.loading and _DRAWS.match(file)):
                return False
            frame = frame.f_back
        return True  # a thread, or what is like one, that a learner has started: nobody else does

    def _is_own(self, file: str, names: dict[str, Any]) -> bool:
        """Whether code with these globals, from this file, is a learner's: what a cell has written to a file, or given to exec or eval."""
        if file.startswith("<"):
            module = sys.modules.get(str(names.get("__name__")))
            return module is None or vars(module) is not names or module.__name__ == "__main__"
        return not os.path.isabs(file) or file.startswith(self.work)

    def _guard_imports(self, found: Substitutes, undo: list) -> None:
        for owner, name in ((builtins, "__import__"), (importlib, "import_module")):
            original = getattr(owner, name)

            def guarded(module: str, *args: Any, _original: Callable = original, **kwargs: Any) -> Any:
                refused = found.module_in(str(module), *_parts(module, args, kwargs))
                if refused and self.reached(but_for=EVERYBODY):
                    self.refuse(refused)
                return _original(module, *args, **kwargs)

            guarded.__name__ = guarded.__qualname__ = name
            _set(owner, name, guarded, undo)

    def _rename(self, found: Substitutes, names: dict[str, Any], undo: list) -> None:
        """Put a substitute where learner's code has a name for a forbidden function or module, or for something of a module."""
        roots = {module.partition(".")[0] for module in found.modules}
        for key, value in list(names.items()):
            original, substitute = found.of.get(id(value), (_NOTHING, None))
            if original is value:
                _set(names, key, substitute, undo)
                continue
            home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if not isinstance(home, str) or home.partition(".")[0] not in roots or key.startswith("__"):
                continue
            refused = found.module_in(home)
            if refused:
                _set(names, key, Hidden(refused, found), undo)

    def _unload(self, found: Substitutes, undo: list) -> None:
        """Take forbidden modules of the course itself out of everybody's reach."""
        for name, hidden in found.own.items():
            parent, _, last = name.rpartition(".")
            if hasattr(sys.modules.get(parent), last):
                _set(sys.modules[parent], last, hidden, undo)
            undo.append(functools.partial(sys.modules.__setitem__, name, sys.modules.pop(name)))


def _guard_threads(mode: Callable, undo: list) -> None:
    """Let threads run as the one does that starts them: under torch's mode and NumPy's error state, which are a thread's own."""

    def inside(context: contextvars.Context, function: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
        with mode():
            context.run(function, *args, **kwargs)

    for owner, name in ((_thread, "start_new_thread"), (_thread, "start_new"), (threading, "_start_new_thread")):
        original = getattr(owner, name)

        def start(function: Callable, args: tuple, kwargs: Mapping[str, Any] = {}, *, _original: Callable = original) -> int:
            return _original(inside, (contextvars.copy_context(), function, args, dict(kwargs)))

        _set(owner, name, start, undo)


def _parts(module: str, args: tuple, kwargs: dict[str, Any]) -> list[str]:
    """What `from module import …` takes, as names in the module; `args` and `kwargs` are those of `__import__` after the first."""
    wanted = kwargs.get("fromlist", args[2] if len(args) > 2 else None) or ()
    return [f"{module}.{part}" for part in wanted]


def _hands_on(file: str, but_for: re.Pattern) -> bool:
    """Whether a file of a library only hands on what a learner's code wants."""
    if file in _HANDS_ON:
        return True
    return not but_for.match(file) and bool(file.startswith(_STANDARD) or _INSTALLED.match(file))


def _set_methods(methods: Mapping[str, Callable], undo: list) -> None:
    """The same for methods of arrays."""
    import numpy as np

    inner = gc.get_referents(vars(np.ndarray))[0]  # a built-in type's dictionary, which setattr does not reach

    def put(values: Mapping[str, Callable]) -> None:
        inner.update(values)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(np.ndarray))

    if methods:
        undo.append(functools.partial(put, {name: inner[name] for name in methods}))
        put(methods)


def _set(owner: Any, name: str, value: Any, undo: list) -> None:
    """Set a name of a module, class or dictionary until `undo` is carried out. Who has set it since keeps it."""
    space = owner if isinstance(owner, dict) else vars(owner)
    undo.append(functools.partial(_put_back, owner, space, name, value, space.get(name, _NOTHING)))
    _put(owner, name, value)


def _put_back(owner: Any, space: Mapping[str, Any], name: str, value: Any, before: Any) -> None:
    if space.get(name) is not value:
        return
    if before is _NOTHING:
        delattr(owner, name)
    else:
        _put(owner, name, before)


def _put(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        owner[name] = value
    else:
        setattr(owner, name, value)
