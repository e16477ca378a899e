"""Keep learner's code from calling what a task rules out, under whatever name.

A first line of defence is the text of a solution (`autograder.forbid`). This is the second: while a learner's code runs, the
forbidden functions raise `ForbiddenError` if learner's code reaches them: as a function, as a method, through an alias, through
`getattr`, through `nn.Softmax`. What libraries call among themselves is not concerned. Python lets nobody be stopped from
digging deeper; what is promised is that nobody gets around it by accident or by a search on the web.
"""

import builtins
import ctypes
import functools
import gc
import importlib
import importlib.util
import os
import sys
import sysconfig
import tempfile
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

#: Where one function has several homes. A forbidden name is forbidden in all of them.
HOMES = (
    "numpy", "numpy.linalg", "numpy.fft", "numpy.ma", "scipy.special", "scipy.linalg", "math", "cmath",
    "torch", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft",
)  # fmt: skip
_NOTHING = object()
_UFUNC_METHODS = ("reduce", "accumulate", "outer", "at", "reduceat")
_STANDARD, _INSTALLED = (os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "purelib"))
#: Code of Python's own that imports and calls what it is told to, as `singledispatch` and `pkgutil.resolve_name` do.
_HANDS_ON = tuple(
    os.path.join(_STANDARD, *name.split("/"))
    for name in (
        "functools.py", "contextlib.py", "pkgutil.py", "pydoc.py", "timeit.py", "threading.py", "concurrent/futures/thread.py",
        "importlib/__init__.py", "importlib/util.py",
    )
)  # fmt: skip
#: What NumPy's own functions call too, `np.isclose` and `str(array)` among them. Here only learner's own calls are meant.
INSIDE_NUMPY = ("numpy.errstate", "numpy.seterr")


@functools.lru_cache(1)
def libraries(loaded: int) -> list[types.ModuleType]:
    """The modules, of `loaded` ones, in which a forbidden function can be found. Known before a fork, it costs nothing there."""
    names = ("numpy", "scipy", "math", "cmath", "torch")
    return [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in names and isinstance(m, types.ModuleType)]


@functools.lru_cache(1)
def courses_own(loaded: int) -> list[str]:
    """The modules, of `loaded` ones, that are the course's own. To look through all names costs a fork more than all else."""
    return [name for name in sys.modules if name.startswith("utils.")]


@functools.cache
def holders(name: str, loaded: int) -> tuple[list[Any], list[tuple[types.ModuleType, Any]]]:
    """A function under all its identities, and the modules, of `loaded` ones, that hold one. First asked while nothing is wrapped."""
    last = name.rpartition(".")[2]
    homes = {home: vars(sys.modules[home]).get(last) for home in (*HOMES, name.rpartition(".")[0]) if home in sys.modules}
    originals = [f for f in (_resolve(name), *homes.values()) if callable(f) and not isinstance(f, _Wrapped)]
    held = [(owner, vars(owner).get(last)) for owner in libraries(loaded)]
    return originals, [(o, h) for o, h in held if h is not None and any(h is f for f in originals)]


@functools.cache
def is_module(name: str) -> bool:
    """Whether a forbidden name is that of a module, such as "torch" or "torch.nn.init"."""
    if "." not in name or isinstance(sys.modules.get(name), types.ModuleType):
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


class ForbiddenError(RuntimeError):
    """The task rules out what was called."""


class Forbidden:
    """What one task rules out.

    Parameters
    ----------
    forbid : dotted name → why. "torch" rules out a module, "torch.softmax" a function
    learner_files : tells whether a traceback's file name holds learner's code that this is meant for
    setup : the code of the set-up cell, which may do what a learner may not
    """

    def __init__(self, forbid: Mapping[str, str], learner_files: Callable[[str], bool], setup: Iterable[types.CodeType] = ()) -> None:
        self.modules = {name: why for name, why in forbid.items() if is_module(name)}
        self.functions = {name: why for name, why in forbid.items() if name not in self.modules}
        self.last = {name.rpartition(".")[2]: name for name in self.functions}
        self.learner_files = learner_files
        self.setup = {id(code): code for code in setup}  # kept, so that no other code gets its id
        self.active = False
        self.names: dict[str, Any] = {}
        self._undo: list[Callable[[], Any]] = []
        self._loaded = -1

    @contextmanager
    def watching(self, names: dict[str, Any]) -> Iterator[None]:
        """While a learner's code runs: what is forbidden raises when that code reaches it.

        What is put in the place of forbidden functions stays there, and lets everybody through, until `restore`.

        Parameters
        ----------
        names : the globals of the learner's code, the same ones each time
        """
        if self._loaded != len(sys.modules):  # what is imported brings further homes
            self.restore()
            self._patch(names, self._undo)
            self._loaded = len(sys.modules)
        self.active = True
        try:
            yield
        finally:
            self.active = False

    def restore(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()
        self._loaded = -1

    def _patch(self, names: dict[str, Any], undo: list) -> None:
        if not (self.modules or self.functions):
            return
        self.names = names
        self._guard_imports(undo)
        for name in self.functions:
            self._wrap(name, undo)
        self._hide_modules(names, undo)
        self._unload(undo)
        if {n.partition(".")[0] for n in (*self.modules, *self.functions)} & {"torch", "numpy"} and "torch" in sys.modules:
            mode = _torch_mode(self)
            mode.__enter__()
            undo.append(functools.partial(mode.__exit__, None, None, None))

    def refuse(self, name: str) -> None:
        """Raise that `name` is ruled out."""
        why = self.functions.get(name) or self.modules.get(name) or ""
        raise ForbiddenError(f"{name} is ruled out in this task{': ' + why if why else ''}. Build it yourself.")

    def reached(self, *, through: tuple[str, ...] = ("numpy", "torch")) -> bool:
        """Whether learner's code is the caller, directly, by Python's own functions, or `through` those of a library."""
        frame = sys._getframe(2)
        while frame:
            file = frame.f_code.co_filename
            if id(frame.f_code) in self.setup:
                return False
            if self.learner_files(file) or _is_own(file, frame.f_globals):
                return True
            if not (file.startswith("<") or file == __file__ or _hands_on(file, through)):
                return False
            frame = frame.f_back
        return threading.current_thread() is not threading.main_thread()  # a learner has started it: nobody else does

    def _module_in(self, *names: str) -> str | None:
        """The forbidden module that one of `names` is or lies in."""
        return next((m for m in self.modules for name in names if name == m or name.startswith(f"{m}.")), None)

    def _guard_imports(self, undo: list) -> None:
        for owner, name in ((builtins, "__import__"), (importlib, "import_module")):
            original = getattr(owner, name)

            def guarded(module: str, *args: Any, _original: Callable = original, **kwargs: Any) -> Any:
                found = self._module_in(str(module), *_parts(module, args, kwargs))
                if found and self.reached(through=()):
                    self.refuse(found)
                return _original(module, *args, **kwargs)

            guarded.__name__ = guarded.__qualname__ = name
            _set(owner, name, guarded, undo)

    def _wrap(self, name: str, undo: list) -> None:
        """Wrap one function in all its homes, and where learner's code has a name for it."""
        original, last = _resolve(name), name.rpartition(".")[2]
        if isinstance(original, type):
            return self._wrap_class(name, original, undo)
        originals, owners = holders(name, len(sys.modules))
        passed = _passed(name)
        for owner, held in owners:
            through = passed if owner.__name__ in HOMES else ()  # private modules are where libraries call each other
            _set(owner, last, _Wrapped(held, name, self, through), undo)
        for key, value in list(self.names.items()):
            if any(value is f for f in originals):
                _set(self.names, key, _Wrapped(value, name, self, passed), undo)
        self._wrap_method(name, last, undo)

    def _wrap_class(self, name: str, kind: type, undo: list) -> None:
        original = kind.__init__

        @functools.wraps(original)
        def __init__(this: Any, *args: Any, **kwargs: Any) -> None:
            if self.active and self.reached(through=_passed(name)):
                self.refuse(name)
            original(this, *args, **kwargs)

        _set(kind, "__init__", __init__, undo)

    def _wrap_method(self, name: str, last: str, undo: list) -> None:
        """The method of arrays that has the same name, such as `x.sum()` for `np.sum`; those of tensors are seen by `_torch_mode`."""
        import numpy as np

        original = vars(np.ndarray).get(last)
        if not callable(original):
            return

        def method(this: Any, *args: Any, **kwargs: Any) -> Any:
            if self.active and self.reached(through=()):
                self.refuse(name)
            return original(this, *args, **kwargs)

        inner = gc.get_referents(vars(np.ndarray))[0]  # a built-in type's dictionary, which setattr does not reach

        def put(value: Any) -> None:
            inner[last] = value
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(np.ndarray))

        undo.append(functools.partial(put, original))
        put(method)

    def _hide_modules(self, names: dict[str, Any], undo: list) -> None:
        """Put a stand-in where learner's code has a name for a forbidden module or for something of it."""
        roots = {module.partition(".")[0] for module in self.modules}
        for key, value in list(names.items()):
            home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if not isinstance(home, str) or home.partition(".")[0] not in roots or key.startswith("__"):
                continue
            found = self._module_in(home)
            if found:
                _set(names, key, _Hidden(found, self), undo)

    def _unload(self, undo: list) -> None:
        """Take forbidden modules of the course itself, of which no library makes use, out of everybody's reach."""
        for name in filter(self._module_in, courses_own(len(sys.modules))):
            parent, _, last = name.rpartition(".")
            if hasattr(sys.modules.get(parent), last):
                _set(sys.modules[parent], last, _Hidden(name, self), undo)
            undo.append(functools.partial(sys.modules.__setitem__, name, sys.modules.pop(name)))


class _Wrapped:
    """A forbidden function: itself, unless learner's code reaches it while a probe runs."""

    def __init__(self, original: Any, name: str, rules: Forbidden, through: tuple[str, ...]) -> None:
        self.__dict__.update(_original=original, _name=name, _rules=rules, _through=through)
        functools.update_wrapper(self, original, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._rules.active and self._rules.reached(through=self._through):
            self._rules.refuse(self._name)
        return self._original(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        if attribute in _UFUNC_METHODS and self._rules.active and self._rules.reached():
            self._rules.refuse(self._name)
        return getattr(self._original, attribute)


class _Hidden:
    """Stands where a forbidden module stood."""

    def __init__(self, module: str, rules: Forbidden) -> None:
        self.__dict__.update(_module=module, _rules=rules)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        self._rules.refuse(self._module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._rules.refuse(self._module)


def _torch_mode(rules: Forbidden) -> Any:
    """A context in which every function of torch, from whatever name it was called, is checked."""
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            name = getattr(func, "__name__", "").partition(".")[0].strip("_")
            found = rules.last.get(name) or ("torch" if "torch" in rules.modules else None)
            if found and rules.active and rules.reached():
                rules.refuse(found)
            return func(*args, **(kwargs or {}))

    return Mode()


def _parts(module: str, args: tuple, kwargs: dict[str, Any]) -> list[str]:
    """What `from module import …` takes, as names in the module; `args` and `kwargs` are those of `__import__` after the first."""
    wanted = kwargs.get("fromlist", args[2] if len(args) > 2 else None) or ()
    return [f"{module}.{part}" for part in wanted]


def _passed(name: str) -> tuple[str, ...]:
    """The libraries through whose functions a call of `name` still counts as learner's own."""
    return () if name in INSIDE_NUMPY else ("numpy", "torch")


def _is_own(file: str, names: dict[str, Any]) -> bool:
    """Whether code with these globals, from this file, is a learner's: what a cell has written to a file, or given to exec or eval."""
    if file.startswith("<"):
        module = sys.modules.get(str(names.get("__name__")))
        return module is None or vars(module) is not names or module.__name__ == "__main__"
    return not os.path.isabs(file) or file.startswith(os.path.join(tempfile.gettempdir(), ""))


def _hands_on(file: str, through: tuple[str, ...]) -> bool:
    """Whether a file of a library only hands on what a learner's code wants: a call, if it is Python's own, or `through` some others."""
    if file in _HANDS_ON or any(f"/{library}/" in file for library in through):
        return True
    return bool(through) and file.startswith(_STANDARD) and not file.startswith(_INSTALLED)


def _resolve(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        owner = sys.modules.get(".".join(parts[:cut]))
        if owner is not None:
            return functools.reduce(lambda found, part: getattr(found, part, None), parts[cut:], owner)
    return None


def _set(owner: Any, name: str, value: Any, undo: list) -> None:
    """Set a name of a module, class or dictionary until `undo` is carried out. Who has set it since keeps it."""
    space = owner if isinstance(owner, dict) else vars(owner)
    before = space.get(name, _NOTHING)
    put = functools.partial(owner.__setitem__, name) if owner is space else functools.partial(setattr, owner, name)

    def back() -> None:
        if space.get(name) is not value:
            return
        if before is _NOTHING:
            delattr(owner, name)
        else:
            put(before)

    put(value)
    undo.append(back)
