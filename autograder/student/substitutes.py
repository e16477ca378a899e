"""What is put in the place of the functions and modules that a task rules out: itself, unless learner's code reaches it.

It is made once for all forks of a task, before they are forked: 40 functions in all their homes would cost a fork as much as all else.
"""

import _imp
import functools
import importlib.util
import re
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from autograder.student.forbidden import Forbidden

#: Where one function has several homes. A forbidden name is forbidden in all of them.
HOMES = (
    "numpy", "numpy.linalg", "numpy.fft", "numpy.ma", "scipy.special", "scipy.linalg", "math", "cmath",
    "torch", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft",
)  # fmt: skip
PACKAGES = "(?:site|dist)-packages"
#: Whose calls are their own, and no learner's: files by name.
EVERYBODY, NOBODY = re.compile(""), re.compile("(?!)")
_NUMPY = re.compile(f".*/{PACKAGES}/numpy/")
#: What NumPy's own functions call too, `np.isclose` and `str(array)` among them.
INSIDE_NUMPY = ("numpy.errstate", "numpy.seterr")
#: What does the work of some of those that can be forbidden, or undoes what they are forbidden for. NumPy uses it, too.
PARTS = {
    "numpy.errstate": ("numpy._core.umath._make_extobj",),
    "numpy.seterrcall": ("numpy.geterrcall", "numpy._core.umath._get_extobj_dict"),
    "warnings": ("numpy.testing.suppress_warnings",),
}
_LONG = 8  # letters of a function's name that tell it also as a part of another name: `native_layer_norm`
#: Methods through which an object of a forbidden class is used.
_ENTRANCES = {"__enter__", "__call__"}
_UFUNC_METHODS = ("reduce", "accumulate", "outer", "at", "reduceat")


@functools.cache
def substitutes(names: tuple[str, ...], loaded: int) -> "Substitutes":
    """Those for some dotted names while `loaded` modules are loaded. First asked while none of them are in place."""
    return Substitutes(names, loaded)


class Substitutes:
    """What takes the place of what.

    Parameters
    ----------
    names : "torch" rules out a module, "torch.softmax" a function
    loaded : how many modules are loaded

    Attributes
    ----------
    modules, functions : the names, told apart
    last : last part of a function's name → its whole name
    rules : those of the process in which the substitutes are in place
    held : module or class, name in it, substitute
    methods : name of a method of arrays → substitute, such as `x.sum()` for `np.sum`
    of : id of a function → the function and its substitute, for the names that learner's code has for it
    homes : names of the modules that hold a forbidden function
    own : modules of the course itself, of which no library makes use → what its package shows in its place
    """

    def __init__(self, names: tuple[str, ...], loaded: int) -> None:
        self.modules = [name for name in names if is_module(name)]
        self.functions = [name for name in names if name not in self.modules]
        self.last = {name.rpartition(".")[2]: name for name in self.functions}
        self.rules: Forbidden | None = None
        self.held: dict[tuple[int, str], tuple[Any, str, Any]] = {}
        self.methods: dict[str, Callable] = {}
        self.of: dict[int, tuple[Any, Wrapped]] = {}
        for name in names:
            for part in PARTS.get(name, ()):
                self._replace(part, loaded, name, _NUMPY)
        for name in self.functions:
            self._replace(name, loaded, name, _NUMPY if name in INSIDE_NUMPY else NOBODY)
        self.homes = {owner.__name__ for owner, *_ in self.held.values() if isinstance(owner, types.ModuleType)}
        files = {getattr(sys.modules[home], "__file__", None) or home for home in self.homes}
        for create in ("create_builtin", "create_dynamic") if self.homes else ():
            self._hold(_imp, create, _creation(getattr(_imp, create), files, self))
        self.own = {name: Hidden(name, self) for name in courses_own(loaded) if self.module_in(name)}

    def module_in(self, *names: str) -> str | None:
        """The forbidden module that one of `names` is or lies in."""
        return next((m for m in self.modules for name in names if name == m or name.startswith(f"{m}.")), None)

    def part_of(self, name: str) -> str | None:
        """The forbidden function whose long name is a part of `name`."""
        return next((whole for last, whole in self.last.items() if len(last) >= _LONG and last in name), None)

    @property
    def in_force(self) -> bool:
        """Whether the rules are."""
        return self.rules is not None and self.rules.active

    def refused(self, but_for: re.Pattern = NOBODY) -> bool:
        """Whether the rules are in force, and learner's code is what calls the substitute that asks, `but_for` some libraries."""
        return self.in_force and self.rules.reached(but_for=but_for)

    def refuse(self, name: str) -> None:
        """Raise that `name` is ruled out."""
        self.rules.refuse(name)

    def _replace(self, name: str, loaded: int, forbidden: str, but_for: re.Pattern) -> None:
        """One function in all its homes."""
        original, last = _resolve(name), name.rpartition(".")[2]
        if isinstance(original, type):
            for method in {"__init__", *_ENTRANCES & vars(original).keys()}:
                self._hold(original, method, _entrance(forbidden, getattr(original, method), self, but_for))
            return
        originals, owners = holders(name, loaded)
        for owner, held in owners:  # private modules are where libraries call each other
            own_name = f"{owner.__name__}.{last}"
            own_name = own_name if own_name in self.functions else forbidden
            public = owner.__name__ in HOMES and but_for is NOBODY
            self._hold(owner, last, Wrapped(held, own_name, self, NOBODY if public else EVERYBODY))
        for function in originals:
            self.of.setdefault(id(function), (function, Wrapped(function, forbidden, self, but_for)))
        method = vars(np.ndarray).get(last)
        if callable(method):  # those of tensors are seen by `torch_mode`
            self.methods[last] = _entrance(name, method, self, EVERYBODY)

    def _hold(self, owner: Any, name: str, substitute: Any) -> None:
        self.held[id(owner), name] = owner, name, substitute


#: What belongs to a substitute, by its id: no attribute of it leads there. The zygote's substitutes are never thrown away.
_kept: dict[int, tuple] = {}


class Wrapped:
    """A forbidden function: itself, unless learner's code reaches it while a probe runs.

    Parameters
    ----------
    name : which one is forbidden
    but_for : libraries that may call it for themselves
    """

    def __init__(self, original: Any, name: str, found: Substitutes, but_for: re.Pattern) -> None:
        _kept[id(self)] = self, original, name, found, but_for
        functools.update_wrapper(self, original, updated=())
        del self.__dict__["__wrapped__"]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _, original, name, found, but_for = _kept[id(self)]
        if found.refused(but_for):
            found.refuse(name)
        return original(*args, **kwargs)

    def __getattr__(self, attribute: str) -> Any:
        _, original, name, found, but_for = _kept[id(self)]
        if attribute in _UFUNC_METHODS and found.refused():
            found.refuse(name)
        value = getattr(original, attribute)
        inside = callable(value) and not attribute.startswith("__")  # `np.ma.tanh.f` is `np.tanh`
        return Wrapped(value, name, found, but_for) if inside else value


class Finder:
    """Finds no forbidden module, and no second copy of one that holds a forbidden function, whoever asks for it.

    Parameters
    ----------
    error : makes the error that says so. Libraries that try whether a module is there take it for an ImportError
    """

    def __init__(self, found: Substitutes, error: Callable[[str], Exception]) -> None:
        self.found, self.error = found, error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Refuse, or leave it to others. Asked for what is not loaded."""
        if not self.found.in_force or name in sys.modules:
            return
        if name in self.found.homes or (self.found.module_in(name) and name.partition(".")[0] not in sys.modules):
            raise self.error(self.found.module_in(name) or name)


class Hidden:
    """Stands where a forbidden module stood."""

    def __init__(self, module: str, found: Substitutes) -> None:
        _kept[id(self)] = self, module, found

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        self()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _, module, found = _kept[id(self)]
        found.refuse(module)


def _entrance(name: str, original: Callable, found: Substitutes, but_for: re.Pattern) -> Callable:
    """A method that refuses learner's code: of a forbidden class, or of arrays."""

    @functools.wraps(original)
    def entered(this: Any, *args: Any, **kwargs: Any) -> Any:
        if found.refused(but_for):
            found.refuse(name)
        return original(this, *args, **kwargs)

    del entered.__wrapped__
    return entered


def _creation(original: Callable, files: set[str], found: Substitutes) -> Callable:
    """What makes a module of machine code, but for a second one of those in `files`, which hold a forbidden function."""

    def create(spec: Any, *args: Any) -> Any:
        if found.in_force and (spec.name in files or spec.origin in files):
            found.refuse(spec.name)
        return original(spec, *args)

    return create


@functools.cache
def torch_mode() -> type:
    """A kind of context in which every function of torch, from whatever name it was called, is checked. Made with its rules."""
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __init__(self, found: Substitutes) -> None:
            super().__init__()
            self.found = found

        def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
            name = getattr(func, "__name__", "").partition(".")[0].strip("_")
            forbidden = self.found.last.get(name) or self.found.part_of(name) or ("torch" if "torch" in self.found.modules else None)
            if forbidden and self.found.refused():
                self.found.refuse(forbidden)
            return func(*args, **(kwargs or {}))

    return Mode


@functools.cache
def holders(name: str, loaded: int) -> tuple[list[Any], list[tuple[types.ModuleType, Any]]]:
    """A function under all its identities, and the modules, of `loaded` ones, that hold one."""
    last = name.rpartition(".")[2]
    homes = {home: vars(sys.modules[home]).get(last) for home in (*HOMES, name.rpartition(".")[0]) if home in sys.modules}
    originals = [f for f in (_resolve(name), *homes.values()) if callable(f) and not isinstance(f, Wrapped)]
    held = [(owner, vars(owner).get(last)) for owner in libraries(loaded)]
    return originals, [(o, h) for o, h in held if h is not None and any(h is f for f in originals)]


@functools.lru_cache(1)
def libraries(loaded: int) -> list[types.ModuleType]:
    """The modules, of `loaded` ones, in which a forbidden function can be found."""
    names = ("numpy", "scipy", "math", "cmath", "torch")
    return [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in names and isinstance(m, types.ModuleType)]


@functools.lru_cache(1)
def courses_own(loaded: int) -> list[str]:
    """The modules, of `loaded` ones, that are the course's own. To look through all names costs a fork more than all else."""
    return [name for name in sys.modules if name.startswith("utils.")]


@functools.cache
def is_module(name: str) -> bool:
    """Whether a forbidden name is that of a module, such as "torch" or "torch.nn.init"."""
    if "." not in name or isinstance(sys.modules.get(name), types.ModuleType):
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _resolve(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        owner = sys.modules.get(".".join(parts[:cut]))
        if owner is not None:
            return functools.reduce(lambda found, part: getattr(found, part, None), parts[cut:], owner)
    return None
