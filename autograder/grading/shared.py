"""One zygote for several workers: it takes seconds to warm and a quarter of a gigabyte, and a fork of it takes milliseconds.

It is started before anything else is imported, so that both take their seconds side by side. Nothing heavy is imported here.
"""

import fcntl
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from autograder.grading.names import unfit
from autograder.student.places import refuse_overlap
from autograder.student.process import Zygote
from autograder.student.prove import Proof, prove, require
from autograder.student.warm import libraries_for

#: Elsewhere than on Linux, libraries do not survive a fork, and workers have zygotes of their own.
FORKS = sys.platform == "linux"
#: A zygote forks a hundred submissions' exercises a second: enough for so many workers.
WORKERS_PER_ZYGOTE = 6


class AcrossProcesses:
    """A lock between processes that is free again when its holder dies."""

    def __init__(self, path: Path) -> None:
        self.path, self.files = path, {}

    def __enter__(self) -> None:
        if os.getpid() not in self.files:  # a lock belongs to an opened file, and forks share those that are open
            self.files = {os.getpid(): self.path.open("a")}
        fcntl.flock(self.files[os.getpid()], fcntl.LOCK_EX)

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self.files[os.getpid()], fcntl.LOCK_UN)


class Zygotes:
    """Zygotes that start beside whatever this process does meanwhile."""

    def __init__(self, sandbox: str, workers: int, root: Path, chapters: Iterable[str]) -> None:
        self.sandbox = sandbox
        count = -(-workers // WORKERS_PER_ZYGOTE)
        imports = libraries_for(root / "chapters" / name for name in chapters)
        self._all = [Zygote(sandbox=sandbox, hidden=[str(root)], imports=imports) for _ in range(count)]
        self._aside = ThreadPoolExecutor(1)
        self._proofs = self._aside.submit(self._greeted)

    def _greeted(self) -> list[Proof]:
        for zygote in self._all:
            zygote.__enter__()
        return prove(self._all[0]) if self.sandbox == "full" else []

    def ready(self, folder: Path, hidden: Sequence[Path]) -> list[Zygote]:
        """The zygotes, once they are warm; one of them has proved that its lock holds.

        Parameters
        ----------
        folder : where files lie by which workers keep apart
        hidden : what submissions must not be able to read, besides the course

        Raises
        ------
        SandboxError : it does not hold, or something hidden can be read
        """
        proofs = self._proofs.result()
        self._aside.shutdown()  # workers are forked next, and threads do not survive that
        if self.sandbox == "full":
            refuse_overlap(self._all[0].greeting["places"], hidden)
            require(proofs)
        for number, zygote in enumerate(self._all):
            zygote.share(AcrossProcesses(folder / f"zygote-{number}.lock"))
        return self._all

    def close(self) -> None:
        """End them."""
        for zygote in self._all:
            zygote.close()
        self._aside.shutdown()


def cores() -> int:
    """How many workers this machine has room for."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_if_needed(root: Path, sandbox: str, workers: int, force: bool) -> Zygotes | None:
    """Zygotes for a run that is about to find out what there is to grade, if something new seems to have been handed in.

    It looks where submissions and records lie unless a course says otherwise; who finds nothing there starts them later.
    """
    handed_in = (root / "submitted").glob("*/*")
    chapters = {folder.name for folder in handed_in if force or _is_new(root, folder)} if FORKS else set()
    return Zygotes(sandbox, workers or cores(), root, chapters) if chapters else None


def _is_new(root: Path, folder: Path) -> bool:
    """Whether a folder of submissions has no record, and may get one."""
    try:
        return not unfit(folder.parent.name) and not (root / ".build" / "grading" / folder.name / f"{folder.parent.name}.json").exists()
    except OSError:
        return False
