"""One process of many that judge. A job goes in, verdicts and a written notebook come out.

State (chapters, their cases and expected results, a zygote) is made on first use and kept, whatever kind of executor runs this: a
process pool on this machine, or Dask's workers elsewhere. Nothing of nbgrader is imported here.
"""

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from autograder.cases import Drawn
from autograder.course import chapters
from autograder.grading.blueprint import Blueprint
from autograder.grading.files import write_whole
from autograder.grading.judging import Bench, Graded, as_text, graded_notebook, judge_submission
from autograder.grading.known import Remembered
from autograder.grading.shared import FORKS, cores
from autograder.grading.submission import read_submission
from autograder.prepared import Prepared
from autograder.student.observe import Observation
from autograder.student.process import Zygote

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One submission to be graded.

    Attributes
    ----------
    path : the notebook that was handed in
    result : where the graded notebook is to be written
    backwards : begin with the last exercise. Workers that meet in the middle find there what the other has computed for the first ones
    """

    root: Path
    chapter: str
    student: str
    path: Path
    result: Path
    sandbox: str = "full"
    backwards: bool = False


#: Zygotes that this process got from the one that it was forked from.
shared: list[Zygote] = []
_blueprints: dict[tuple[Path, str], Blueprint] = {}
_benches: dict[tuple[int, str], Bench] = {}


def blueprint_of(root: Path, chapter: str) -> Blueprint:
    """The blueprint of a chapter, kept for the life of this process."""
    key = (root, chapter)
    if key not in _blueprints:
        blueprint = _blueprints[key] = Blueprint(root, chapters(root)[chapter])
        known = root / ".build" / "known" / chapter / blueprint.fingerprint[:16]
        blueprint.chapter.prepared = {id: Remembered(e, known / id) for id, e in blueprint.chapter.exercises.items()}
    return _blueprints[key]


def warm(blueprint: Blueprint) -> None:
    """Draw the cases of a chapter and compute what is expected, so that processes forked from this one need not."""
    import torch

    torch.set_num_threads(1)  # threads do not survive a fork, and there is a worker for every core
    known = [*blueprint.chapter.prepared.values()]
    aside = beside(_drawn, known[1::2]) if FORKS and cores() > 1 else list
    for prepared in known[::2]:
        _ = prepared.cases, prepared.expected
    for prepared, found in zip(known[1::2], aside()):
        prepared.drawn, prepared.expected = found
    computed = [blueprint.slots, blueprint.solution_ids]
    for prepared in known:
        computed += [prepared.cases, prepared.expected, prepared.probes, prepared.questions]
    gc.freeze()  # no worker needs to look for garbage in what they share


def _drawn(known: Sequence[Prepared]) -> list[tuple[Drawn, list[list[Observation]]]]:
    return [(prepared.drawn, prepared.expected) for prepared in known]


def beside(work: Callable[[T], list], given: T) -> Callable[[], list]:
    """Let a fork of this process do some work, and get a function that waits for its result: empty, where that cannot travel."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def run() -> None:
        try:
            theirs.send_bytes(pickle.dumps(work(given)))
        except Exception:  # it is done again here, and what is wrong is said there
            theirs.send_bytes(pickle.dumps([]))

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    theirs.close()

    def result() -> list:
        try:
            return pickle.loads(ours.recv_bytes())
        except EOFError:
            return []
        finally:
            process.join()

    return result


def grade_job(job: Job) -> Graded:
    """Judge one submission and write its graded notebook."""
    blueprint = blueprint_of(job.root, job.chapter)
    submission = read_submission(job.path, blueprint.solution_ids)
    graded = judge_submission(blueprint, submission, bench(job.sandbox, job.root), backwards=job.backwards)
    write_whole(job.result, as_text(graded_notebook(blueprint, submission, graded)))
    return graded


def bench(sandbox: str, root: Path) -> Bench:
    """What this process judges with."""
    key = (os.getpid(), sandbox)  # a zygote that was started before a fork belongs to the parent
    if key not in _benches:
        lent = shared[os.getpid() % len(shared)] if shared else None
        _benches[key] = Bench(sandbox, hidden=(root,), started=lent, lent=lent is not None)
    return _benches[key]


def start_worker(parent: int) -> None:
    """Set up a worker process: Ctrl-C is its parent's business, and it does not outlive its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # of a reference that a submission calls on strange inputs
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)  # the zygote ends as its socket closes
