"""A stand-in for the notebook's shell: magics that are harmless do their work, others say that they are skipped."""

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autograder.student.cells import Cells

#: Line magics that set up a notebook and change no result.
IGNORED = {
    "matplotlib", "config", "load_ext", "reload_ext", "unload_ext", "autoreload", "aimport", "precision", "pylab", "autosave", "colors",
    "xmode", "pdb", "automagic", "alias_magic", "who", "whos", "who_ls", "pinfo", "pinfo2", "pdoc", "psource", "history", "logstart",
    "logstop",
}  # fmt: skip
#: Magics that run their code and measure or record it; here they only run it.
TIMERS = {"time", "timeit", "prun", "capture", "memit", "mprun", "lprun"}
_ARGUMENT = frozenset("nrpts")


class Shell:
    """What `get_ipython()` gives in a cell."""

    def __init__(self, cells: "Cells") -> None:
        self._cells = cells
        self.notes: list[str] = []
        self.events = types.SimpleNamespace(register=lambda *a: None, unregister=lambda *a: None)
        self.config: dict[str, Any] = {}

    @property
    def user_ns(self) -> dict[str, Any]:
        """The names of the notebook."""
        return self._cells.module.__dict__

    def run_line_magic(self, name: str, line: str, _stack_depth: int = 1) -> Any:
        """`%name line`."""
        if name in TIMERS:
            return self._run(_without_options(line))
        if name not in IGNORED:
            self.notes.append(f"The line %{name} was skipped: magics that do more than show or time are off while grading.")

    def run_cell_magic(self, name: str, line: str, cell: str) -> Any:
        """`%%name line` on top of a cell."""
        if name in TIMERS:
            return self._run(cell)
        self.notes.append(f"The cell under %%{name} was skipped: such magics are off while grading.")

    def magic(self, text: str) -> Any:
        """The old spelling of `run_line_magic`."""
        name, _, line = text.lstrip("%").partition(" ")
        return self.run_line_magic(name, line)

    run_magic = magic

    def system(self, command: str) -> None:
        """`!command`."""
        self.notes.append(f"The line !{command[:80]} was skipped: shell commands are off while grading.")

    system_raw = system_piped = system

    def getoutput(self, command: str, *args: Any, **kwargs: Any) -> list[str]:
        """`x = !command`."""
        self.system(command)
        return []

    def _run(self, code: str) -> None:
        name = f"<timed {len(self._cells.files)}>"
        self._cells.files.add(name)
        self._cells.execute(code, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.notes.append(f"get_ipython().{name} does nothing while grading.")
        return lambda *args, **kwargs: None


def _without_options(line: str) -> str:
    """The code of `%timeit -n 10 -r3 code`."""
    words = line.split(" ")
    while words and ((words[0].startswith("-") and len(words[0]) > 1 and words[0][1].isalpha()) or not words[0]):
        option = words.pop(0)
        if len(option) == 2 and option[1] in _ARGUMENT and words and words[0].isdigit():
            words.pop(0)
    return " ".join(words)
