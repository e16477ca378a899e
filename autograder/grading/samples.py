"""Make submissions from a chapter: solutions, known mistakes and right variants as the text a learner would hand in."""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from autograder.build.notebook import solution_id
from autograder.chapter import Chapter
from autograder.exercise import Exercise, Implementation


def fill_in(root: Path, chapter: Chapter, solutions: Mapping[str, str]) -> dict[str, Any]:
    """The class edition of a chapter with the given solutions: exercise → text of its cell."""
    notebook = json.loads((root / "release" / chapter.name / f"{chapter.slug}.ipynb").read_text(encoding="utf-8"))
    texts = {solution_id(exercise): text for exercise, text in solutions.items()}
    for cell in notebook["cells"]:
        id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if id in texts:
            cell["source"] = texts[id].splitlines(keepends=True)
    return notebook


def can_be_written(exercise: Exercise, implementation: Implementation) -> bool:
    """Whether every part of an implementation is a function or class with a text of its own: no lambda, nothing made by a function."""
    values = [getattr(implementation.submission, name) for name in exercise.names]
    functions = [f for v in values for f in _functions(v)]
    made = any(f.__name__ == "<lambda>" or (f.__closure__ and not isinstance(v, type)) for v in values for f in _functions(v))
    return bool(functions) and not made


def text_of(exercise: Exercise, implementation: Implementation) -> str:
    """An implementation from an answers file as a solution cell, with what it uses of that file."""
    parts: dict[str, str] = {}
    for name in exercise.names:
        value = getattr(implementation.submission, name)
        _collect_helpers(value, parts)
        parts[name] = _renamed(value, name)
    return "\n\n\n".join(parts.values()) + "\n"


def _renamed(value: Callable | type, name: str) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    tree.name, tree.decorator_list = name, []
    return ast.unparse(tree)


def _collect_helpers(value: Any, parts: dict[str, str]) -> None:
    """Constants, functions, classes and imports of the same answers file that `value` names, innermost first."""
    for function in _functions(value):
        for name, used in _used(function):
            if name in parts:
                continue
            own = getattr(used, "__module__", None) == function.__module__
            if own and isinstance(used, (FunctionType, type)):
                _collect_helpers(used, parts)
            parts[name] = _definition(name, used, own)


def _definition(name: str, used: Any, own: bool) -> str:
    if isinstance(used, ModuleType):
        return f"import {used.__name__} as {name}"
    if isinstance(used, (int, float, str, bool, tuple)):
        return f"{name} = {used!r}"
    return _renamed(used, name) if own else f"from {used.__module__} import {used.__name__} as {name}"


def _functions(value: Any) -> list[FunctionType]:
    if isinstance(value, type):
        return [f for f in vars(value).values() if isinstance(f, FunctionType)]
    return [value] if isinstance(value, FunctionType) else []


def _used(function: FunctionType) -> list[tuple[str, Any]]:
    kinds = (int, float, str, bool, tuple, FunctionType, type, ModuleType, np.ufunc)
    return [(n, function.__globals__[n]) for n in _names(function.__code__) if isinstance(function.__globals__.get(n), kinds)]


def _names(code: Any) -> list[str]:
    inner = [n for c in code.co_consts if hasattr(c, "co_names") for n in _names(c)]
    return list(dict.fromkeys([*code.co_names, *inner]))
