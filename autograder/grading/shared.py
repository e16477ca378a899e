"""One zygote for several workers: it takes seconds to warm and a quarter of a gigabyte, and a fork of it takes milliseconds."""

import fcntl
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from autograder.grading import worker
from autograder.grading.pool import MakeExecutor
from autograder.student.process import Zygote
from autograder.student.prove import prove, require

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

    def __init__(self, sandbox: str, workers: int, hidden: Sequence[Path], folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        count = -(-workers // WORKERS_PER_ZYGOTE)
        self._all = [Zygote(sandbox=sandbox, hidden=[*map(str, hidden)]) for _ in range(count)]

    def ready(self) -> list[Zygote]:
        """The zygotes, once they are warm; one of them has proved that its lock holds.

        Raises
        ------
        SandboxError : it does not hold
        """
        for number, zygote in enumerate(self._all):
            zygote.__enter__()
            zygote.share(AcrossProcesses(self.folder / f"zygote-{number}.lock"))
        if self.sandbox == "full":
            require(prove(self._all[0]))
        return self._all

    def close(self) -> None:
        """End them."""
        for zygote in self._all:
            zygote.close()


def sharing(make: MakeExecutor, zygotes: list[Zygote]) -> MakeExecutor:
    """An executor whose workers share `zygotes`; a later one, made because a worker died, has zygotes of its own."""
    given = [zygotes, []]

    def pool(workers: int) -> Executor:
        worker.shared = given.pop(0) if given else []
        return make(workers)

    return pool
