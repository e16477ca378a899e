"""What grading needs from a machine: what is missing, and how to mend it."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from autograder.errors import CourseError

_GB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    good : whether it is as it should be
    mend : what to do if it is not
    needed : whether grading is impossible without it
    """

    what: str
    good: bool
    found: str
    mend: str = ""
    needed: bool = True


def examine(root: Path, looked: Callable[[Finding], None] = lambda finding: None) -> list[Finding]:
    """Look at everything; `looked` is called with each finding as it is made."""
    found = []
    for look in (python, packages, kernel, path, extensions, disk, memory, cores, sandbox):
        for finding in look(root):
            looked(finding)
            found.append(finding)
    return found


def python(root: Path) -> Iterator[Finding]:
    """The version of Python."""
    wanted = _project(root).get("requires-python", ">=3.11")
    good = Requirement(f"python{wanted}").specifier.contains(".".join(map(str, sys.version_info[:3])))
    yield Finding("Python", good, f"{sys.version.split()[0]} in {sys.prefix}", f"Use Python {wanted}: python3.11 -m venv .venv")


def packages(root: Path) -> Iterator[Finding]:
    """The packages of pyproject.toml, with their versions."""
    wanted = [Requirement(text) for text in _project(root).get("dependencies", [])]
    wrong = list(filter(None, map(_package, wanted)))
    mend = f"{sys.executable} -m pip install -e {root}"
    yield Finding("packages", not wrong, "; ".join(wrong) or f"all {len(wanted)} of pyproject.toml", mend)


def _package(wanted: Requirement) -> str:
    if wanted.marker and not wanted.marker.evaluate():
        return ""
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    return "" if wanted.specifier.contains(version, prereleases=True) else f"{wanted.name} {version}, wanted {wanted.specifier}"


def _project(root: Path) -> dict:
    try:
        return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        own = importlib.metadata.metadata("dlcourse")
        return {"requires-python": own["Requires-Python"], "dependencies": own.get_all("Requires-Dist") or []}


def kernel(root: Path) -> Iterator[Finding]:
    """The Jupyter kernel in which notebooks open."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    mend = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        yield Finding("kernel", False, "there is no kernel python3", mend)
        return
    where = shutil.which(command) or command
    same = Path(where).exists() and Path(where).resolve() == Path(sys.executable).resolve()
    yield Finding("kernel", same, f"python3 runs {where}", mend, needed=False)


def path(root: Path) -> Iterator[Finding]:
    """Programs that are called by name."""
    beside = Path(sys.executable).parent
    mend = f'Activate the environment, or: export PATH="{beside}:$PATH"'
    for name, why in (("alembic", "nbgrader makes a new gradebook with it"), ("jupyter", "opens the notebooks")):
        where = shutil.which(name)
        # `dlcourse` itself looks beside its Python; plain `nbgrader` needs the PATH
        yield Finding(name, where is not None, where or f"not on PATH ({why})", mend, needed=not (beside / name).exists())


def extensions(root: Path) -> Iterator[Finding]:
    """nbgrader's parts of JupyterLab."""
    for kind, words in (("server", ["server", "extension"]), ("lab", ["labextension"])):
        done = subprocess.run([sys.executable, "-m", "jupyter", *words, "list"], capture_output=True, text=True, timeout=60, check=False)
        text = done.stdout + done.stderr
        lines = [line for line in text.splitlines() if "nbgrader" in line]
        good = any("enabled" in line.lower() or "OK" in line for line in lines)
        mend = f"{sys.executable} -m jupyter {' '.join(words)} enable {'--sys-prefix nbgrader' if kind == 'server' else 'nbgrader'}"
        yield Finding(f"nbgrader in JupyterLab ({kind})", good, "enabled" if good else "not found", mend, needed=False)


def disk(root: Path) -> Iterator[Finding]:
    """Room for notebooks and pages."""
    free = shutil.disk_usage(root).free
    yield Finding("disk", free > _GB, f"{free / _GB:.1f} GB free in {root}", "Free at least 1 GB.")
    yield Finding("course folder", os.access(root, os.W_OK), f"{root}", "Grading writes there: check owner and permissions.", needed=False)


def memory(root: Path) -> Iterator[Finding]:
    """Room for a worker and its submission."""
    try:
        rows = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return
    mend = "A worker takes about 0.7 GB, a submission up to 2 GB: close other programs, or use fewer workers."
    yield Finding("memory", free > 2 * _GB, f"{free / _GB:.1f} GB available", mend, needed=False)


def cores(root: Path) -> Iterator[Finding]:
    """How many workers there will be."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", True, f"{count}: `dlcourse grade` uses {count} worker{'s' if count > 1 else ''}")


def sandbox(root: Path) -> Iterator[Finding]:
    """Whether submissions can be locked in, by trying it."""
    from autograder.student.prove import prove

    try:
        proofs = prove()
    except CourseError as error:
        yield Finding("sandbox", False, str(error), "Grade elsewhere, or accept the risk with `--sandbox none`.")
        return
    mend = "Grade on another machine, or accept the risk with `--sandbox none`."
    for proof in proofs:
        yield Finding(f"sandbox: {proof.promise}", proof.held, proof.detail, mend, proof.needed)


def as_json(findings: list[Finding]) -> str:
    """The findings for programs."""
    fields = ("what", "good", "found", "mend", "needed")
    return json.dumps({"ready": ready(findings), "findings": [{k: getattr(f, k) for k in fields} for f in findings]})


def ready(findings: list[Finding]) -> bool:
    """Whether nothing needed is missing."""
    return all(f.good or not f.needed for f in findings)
