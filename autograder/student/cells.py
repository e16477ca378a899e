"""Run a cell's text as IPython would, and keep what it printed, showed and did."""

import ast
import asyncio
import builtins
import functools
import inspect
import linecache
import sys
import traceback
import types
from dataclasses import dataclass, field
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from autograder.student.display import Capture, display
from autograder.student.limits import Limits
from autograder.student.magics import Shell
from autograder.student.outcome import CellOutcome

SETUP = "<set-up>"
_TRANSFORMER = TransformerManager()


@dataclass
class Cells:
    """A namespace in which cells run, as in a notebook."""

    limits: Limits = field(default_factory=Limits)
    module: types.ModuleType = field(default_factory=lambda: types.ModuleType("__main__"))
    files: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.shell = Shell(self)
        ready: dict[str, Any] = {"get_ipython": lambda: self.shell, "display": display, "In": [""], "Out": {}, "_": ""}  # as in a notebook
        self.module.__dict__.update(ready, __builtins__=builtins)
        self._hidden = set(self.module.__dict__)

    @property
    def names(self) -> dict[str, Any]:
        """What the cells have defined."""
        return {k: v for k, v in self.module.__dict__.items() if k not in self._hidden}

    def learner_files(self, name: str) -> bool:
        """Whether a traceback's file name is a cell."""
        return name in self.files

    def run(self, source: str, name: str) -> CellOutcome:
        """Run a cell; `name` stands for its file in tracebacks, such as `<exercise activations.sigmoid>`."""
        self.files.add(name)
        self.shell.notes.clear()
        with Capture(self.limits) as captured, as_main(self.module):
            try:
                self.execute(source, name)
                failed: dict[str, Any] = {}
            except BaseException as error:  # SystemExit and KeyboardInterrupt end a cell, not the process
                failed = self._describe(error)
            captured.figures()
        notes = tuple(dict.fromkeys(self.shell.notes + captured.notes))
        return CellOutcome(**failed, notes=notes, stdout=captured.stdout, stderr=captured.stderr, outputs=captured.outputs)

    def execute(self, source: str, name: str) -> None:
        """Run source text, magics translated, and display the value of its last expression."""
        text, codes = compiled(source, name)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        for code in codes:
            result = eval(code, self.module.__dict__)
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.new_event_loop().run_until_complete(result)

    def _describe(self, error: BaseException) -> dict[str, Any]:
        kind, text = type(error).__name__, _text(error)
        if is_out_of_memory(kind, text):
            return {"status": "memory", "error": kind, "message": "The code asked for more memory than it may have."}
        if isinstance(error, SystemExit):
            text = "the cell asked Python to stop (exit, quit or sys.exit)"
        return {"status": "error", "error": kind, "message": f"{kind}: {text}"[:1000], "where": self._where(error)}

    def _where(self, error: BaseException) -> tuple[str, ...]:
        if isinstance(error, SyntaxError) and error.filename in self.files:
            return (f"line {error.lineno}: {(error.text or '').strip()}"[:300],)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if self.learner_files(f.filename)]
        return tuple(f"line {f.lineno}, in {f.name}: {(f.line or '').strip()}"[:300] for f in frames)[-5:]


@functools.lru_cache(64)
def compiled(source: str, name: str) -> tuple[str, tuple[types.CodeType, ...]]:
    """A cell as Python: its text with magics translated, and its code, a last expression apart.

    Raises
    ------
    SyntaxError, ValueError : it is no Python; its text can be shown all the same
    """
    try:
        text, body = source, ast.parse(source, name).body
    except (SyntaxError, ValueError):  # magics, or none
        text = _TRANSFORMER.transform_cell(source)
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        body = ast.parse(text, name).body
    quiet = text.rstrip().endswith(";")
    last = [body.pop()] if body and isinstance(body[-1], ast.Expr) and not quiet else []
    trees = [(ast.Module(body, []), "exec"), *((ast.Interactive([node]), "single") for node in last)]
    return text, tuple(compile(t, name, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True) for t, mode in trees)


@functools.lru_cache(64)
def code_of(source: str, name: str) -> tuple[types.CodeType, ...]:
    """The code of a cell and of all that it defines; none where it is no Python."""
    try:
        _, codes = compiled(source, name)
    except (SyntaxError, ValueError):
        return ()
    found = list(codes)
    for code in found:  # it grows meanwhile
        found += [inner for inner in code.co_consts if isinstance(inner, types.CodeType)]
    return tuple(found)


class as_main:  # reads as a with statement
    """Let a module be `__main__` for a while: dataclasses and pickle look there."""

    def __init__(self, module: types.ModuleType) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.before = sys.modules["__main__"]
        sys.modules["__main__"] = self.module

    def __exit__(self, *exc: object) -> None:
        sys.modules["__main__"] = self.before


def is_out_of_memory(kind: str, text: str) -> bool:
    """Whether an exception says that memory is used up; torch says so in a RuntimeError."""
    return kind in ("MemoryError", "_ArrayMemoryError") or (kind == "RuntimeError" and "allocate memory" in text)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # a learner's own __str__ may fail
        return ""
