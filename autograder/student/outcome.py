"""What became of an exercise's cells."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CellOutcome:
    """What running the cells of an exercise did.

    Attributes
    ----------
    status : ok, error, time, memory or died
    message : the exception's type and text
    where : the learner's own lines of the traceback, innermost last
    notes : what was skipped, such as a shell line
    stdout, stderr : what was printed, limited
    outputs : figures and displayed values as mime bundles, images as base64; limited, and to be sanitised before they are shown
    error : name of the exception's type, or None
    missing : which of the names that the task asks for the cells do not define
    """

    status: str = "ok"
    message: str = ""
    where: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    stdout: str = ""
    stderr: str = ""
    outputs: tuple[dict[str, str], ...] = ()
    error: str | None = None
    missing: tuple[str, ...] = ()
