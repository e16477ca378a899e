"""Run jobs in many processes, and lose none when one of the processes dies."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from autograder.grading import worker
from autograder.grading.shared import FORKS
from autograder.student.process import Zygote

J = TypeVar("J")
#: Makes an executor with a number of workers. The seam for other machines: `lambda n: client.get_executor()` of Dask.
MakeExecutor = Callable[[int], Executor]


def process_pool(workers: int) -> Executor:
    """Worker processes on this machine. Forked where that is safe, so that they share what this process has prepared."""
    context = multiprocessing.get_context("fork" if FORKS else "spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=worker.start_worker, initargs=(os.getpid(),))


def run_jobs(
    jobs: Iterable[J], work: Callable[[J], Any], workers: int, make: MakeExecutor = process_pool
) -> Iterator[tuple[J, Any | BaseException]]:
    """Each job with its result, or with the exception it ended in, as they come.

    A job whose worker dies is tried once more, alone; what was waiting behind it goes on.
    """
    left = list(jobs)
    while left:
        unfinished = yield from _round(left, work, workers, make)
        suspects, left = unfinished[: workers + 1], unfinished[workers + 1 :]
        for job in suspects:
            lost = yield from _round([job], work, 1, make)
            if lost:
                yield job, RuntimeError("the process that graded it died twice")


def _round(jobs: list[J], work: Callable[[J], Any], workers: int, make: MakeExecutor) -> Iterator[tuple[J, Any]]:
    """Yields what finishes; returns the jobs that were lost with their workers, in order."""
    lost = []
    pool = make(min(workers, len(jobs)))
    try:
        futures = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(futures):
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                lost.append(futures[future])
            else:
                yield futures[future], error or future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [job for job in jobs if job in lost]


def sharing(make: MakeExecutor, zygotes: list[Zygote]) -> MakeExecutor:
    """An executor whose workers share `zygotes`; a later one, made because a worker died, has zygotes of its own."""
    given = [zygotes, []]

    def pool(workers: int) -> Executor:
        worker.shared = given.pop(0) if given else []
        return make(workers)

    return pool
