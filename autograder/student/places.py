"""The folders that a submission needs to read: Python, its packages and the libraries below them. Never the course."""

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from autograder.errors import SandboxError

DEVICES = ("/dev/null",)
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime", "/etc/fonts",
    "/usr/share/zoneinfo", "/usr/share/fonts", "/usr/share/fontconfig", "/dev/urandom", "/dev/random",
)  # fmt: skip


def readable() -> list[str]:
    """Every place, under its own name and with links resolved."""
    course = Path(__file__).resolve().parents[2]
    libraries = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    libraries |= {str(Path(prefix) / "lib") for prefix in (sys.prefix, sys.base_prefix)}
    libraries |= {entry for entry in sys.path if Path(entry).is_dir() and not _is_course(Path(entry), course)}
    found = [Path(p) for p in (*libraries, *_SYSTEM)]
    names = {str(name) for p in found if p.exists() for name in (p.absolute(), p.resolve())}
    return sorted(n for n in names if not any(n.startswith(f"{other}/") for other in names))


def _is_course(entry: Path, course: Path) -> bool:
    """An editable installation puts the course's root among the places to import from; an environment may lie within it."""
    entry = entry.resolve()
    installed = any(entry.is_relative_to(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix))
    return (entry.is_relative_to(course) and not installed) or (entry / "chapters").is_dir()


def refuse_overlap(places: Iterable[str], hidden: Iterable[str]) -> None:
    """Refuse to run if what must stay hidden lies inside what submissions can read.

    Raises
    ------
    SandboxError
    """
    for secret in map(os.path.realpath, hidden):
        for place in places:
            if secret == place or secret.startswith(f"{place}/"):
                raise SandboxError(
                    f"The folder {secret} lies inside {place}, which submissions can read because Python needs it. "
                    "Move the course to a folder of its own, or grade with --sandbox=none if you accept that submissions can read it."
                )


def open_to_all(places: Iterable[str], *, parents: bool) -> bool:
    """Whether another user could read the places; `parents`: also on the way to them, which matters unless they are mounted elsewhere."""
    for place in map(Path, places):
        way = [place, *place.parents] if parents else [place]
        if any(not p.stat().st_mode & (0o001 if p.is_dir() else 0o004) for p in way):
            return False
    packages = (importlib.util.find_spec(name) for name in ("torch", "numpy"))
    return all(spec is None or os.stat(spec.origin).st_mode & 0o004 for spec in packages)
