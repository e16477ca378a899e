"""Grade the submissions of a throw-away course: by this grader, or by stock nbgrader."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from autograder.attacks.attack import Attack
from autograder.attacks.checks import changed_course, findings, recorded
from autograder.attacks.course import CHAPTER, Ground, set_up
from autograder.errors import CourseError
from autograder.student.limits import Limits

#: Stricter than the grader's own, so that what hangs does not take minutes.
LIMITS = Limits(cell=4.0, call=2.0, ask=6.0, cpu=8.0, oracle_seconds=4.0)
SECRET_NAME = "DLCOURSE_ATTACK_SECRET"
_STOCK_SECONDS, _STOCK_MEMORY, _STOCK_FILE = 90, 8 << 30, 256 << 20
_SUBREAPER = 36

Tell = Callable[[int], None]


@dataclass
class Result:
    """What became of an attack: nothing in `broken` means that it was held."""

    attack: Attack
    broken: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether it reached nothing."""
        return not self.broken


def run(attacks: Sequence[Attack], edition: Path, grade: Callable[[Ground], list[str]], tell: Tell = lambda done: None) -> list[Result]:
    """Grade all attacks in one course. If that course came to harm, each half again, to see which attack did it."""
    results, harm = _together(attacks, edition, grade)
    if harm and len(attacks) > 1:
        half = len(attacks) // 2
        return [*run(attacks[:half], edition, grade, tell), *run(attacks[half:], edition, grade, tell)]
    for result in results:
        result.broken += harm
    tell(len(attacks))
    return results


def _together(attacks: Sequence[Attack], edition: Path, grade: Callable[[Ground], list[str]]) -> tuple[list[Result], list[str]]:
    with _throw_away() as folder, _adopting() as left_over:
        ground = set_up(folder, edition, attacks)
        harm = grade(ground)
        if left_over():
            harm.append("a process was left over")
        harm += [f"{name} was changed" for name in changed_course(ground)[:1]]
        points = recorded(ground.root)
        return [Result(a, findings(ground, a, points)) for a in attacks], harm


@contextlib.contextmanager
def _throw_away() -> Iterator[Path]:
    """A folder that is removed however deep an attack made it: `shutil.rmtree` gives up where Python's stack ends."""
    folder = Path(tempfile.mkdtemp(prefix="attacked-course-")).resolve()
    try:
        yield folder
    finally:
        subprocess.run(["/bin/rm", "-rf", "--", folder], check=False, stderr=subprocess.DEVNULL)


def ours(ground: Ground) -> list[str]:
    """`dlcourse grade`, in this process; gives back what harmed the whole run."""
    from autograder.grading.batch import Options, grade_course
    from autograder.grading.collect import collect
    from autograder.grading.settings import Settings

    settings = Settings(ground.root)
    with _inside(ground):
        try:
            for archive in sorted((ground.root / "downloaded").glob("*.zip")):
                with contextlib.suppress(CourseError):  # nothing in it could be taken
                    collect(settings, [ground.chapter], archive)
            batch = grade_course(settings, [ground.chapter], Options(workers=_cores(), make=strict_pool))
            _told(batch)
        except Exception as error:  # whatever stops the batch is what an attack wanted
            return [f"the batch stopped: {type(error).__name__}: {str(error)[:200]}"]
    failed = [f"the grader failed on {e.student}: {e.why[:200]}" for e in batch.entries if e.state == "failed"]
    return failed + ([f"{batch.count('queued')} were not graded"] if batch.count("queued") else [])


def _told(batch: object) -> None:
    """What an instructor is told must be something that can be printed."""
    import io
    import json

    from rich.console import Console

    from autograder.grading import summary

    summary.show(batch, Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), width=120))  # type: ignore[arg-type]
    json.dumps(summary.as_json(batch), ensure_ascii=False).encode("utf-8")  # type: ignore[arg-type]


def strict_pool(workers: int) -> Executor:
    """The grader's own pool, with stricter limits for what it runs."""
    import multiprocessing

    return ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _start_strict, (os.getpid(),))


def _start_strict(parent: int) -> None:
    from autograder.grading import worker
    from autograder.grading.judging import Bench

    worker.start_worker(parent)
    worker._benches[(os.getpid(), "full")] = Bench("full", LIMITS)


def stock(ground: Ground) -> list[str]:
    """Stock `nbgrader autograde` in processes of its own, with limits; gives back what harmed the whole run."""
    harm = []
    for command in (["generate_assignment", CHAPTER, "--force"], ["autograde", CHAPTER, "--force", "--Execute.timeout=30"]):
        count = len(list((ground.root / "submitted").iterdir()))
        code = _nbgrader(ground, command, _STOCK_SECONDS + 30 * count)
        if code is None:
            return ["the batch did not end"]
        harm = [f"nbgrader was killed by {signal.Signals(-code).name}"] if code < 0 else []
    missing = [f.name for f in (ground.root / "submitted").iterdir() if not (ground.folder("autograded", f.name)).is_dir()]
    return harm + ([f"{len(missing)} were not graded"] if missing and len(missing) > 1 else [])


def _nbgrader(ground: Ground, command: Sequence[str], seconds: float) -> int | None:
    own = {"HOME": str(ground.root / "home"), "TMPDIR": str(ground.root / "tmp"), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "VIRTUAL_ENV") if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    environment = own | kept | {"PATH": path, "DLCOURSE_EXECUTE": "stock", SECRET_NAME: ground.secret}
    process = subprocess.Popen(
        [sys.executable, "-m", "nbgrader", *command], cwd=ground.root, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=_limit,
    )  # fmt: skip
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_STOCK_MEMORY, _STOCK_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_STOCK_FILE, _STOCK_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _cores() -> int:
    return min(4, len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def _inside(ground: Ground) -> Iterator[None]:
    """Work in the course, as its instructor does, with a secret in the environment."""
    before = os.getcwd()
    os.environ[SECRET_NAME] = ground.secret
    os.chdir(ground.root)
    try:
        yield
    finally:
        os.chdir(before)
        del os.environ[SECRET_NAME]


@contextlib.contextmanager
def _adopting() -> Iterator[Callable[[], list[int]]]:
    """Inherit processes whose parents die; yields a function that ends those that were left over and names them."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    before = _children()
    try:
        yield lambda: _end(_children() - before)
    finally:
        _end(_children() - before)
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def _end(pids: set[int]) -> list[int]:
    """End our own children, and theirs, which become ours; gives back those that were still running after a moment."""
    alive, until = set(pids), time.monotonic() + 3
    while alive and time.monotonic() < until:
        alive = {pid for pid in alive if not _reaped(pid)}
        time.sleep(0.05)
    for pid in alive:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return sorted(alive)


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
