"""Believe of a student process only what is well formed: its messages become observations and outcomes, or a `WireError`."""

import os
import re
import signal
from dataclasses import dataclass
from typing import Any

from autograder.errors import WireError
from autograder.student.channel import TimeUp
from autograder.student.limits import Limits
from autograder.student.observe import Observation
from autograder.student.outcome import CellOutcome
from autograder.student.plaintext import clean

_MAX_TEXT = 2000
_MAX_LINES = 20
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*\Z")
_MIMES = {"text/plain", "text/html", "image/png", "image/svg+xml", "text/latex", "text/markdown"}
_STATUSES = {"ok", "error", "memory"}  # time and died are the judge's own findings


@dataclass(frozen=True)
class Lost:
    """How a process was lost: `kind` is time, memory or died."""

    kind: str
    message: str

    def observation(self) -> Observation:
        """What the call that was lost, or never asked, is observed as."""
        return Observation(error=self.kind, message=self.message)


def observation(fields: Any) -> Observation:
    """A student process's answer to one call, checked. What there is nothing to say of is left out."""
    if not isinstance(fields, dict) or not set(fields) <= set(Observation.__dataclass_fields__) or "value" not in fields:
        raise WireError("an answer that is no observation")
    return Observation(
        value=fields["value"],
        error=None if fields.get("error") is None else _text(fields["error"]),
        message=_text(fields.get("message", "")),
        where=_lines(fields.get("where", ())),
        warnings=_lines(fields.get("warnings", ())),
        changed=_lines(fields.get("changed", ())),
    )


def outcome(fields: Any, limits: Limits) -> CellOutcome:
    """A student process's account of its cells, checked."""
    if not isinstance(fields, dict) or set(fields) != set(CellOutcome.__dataclass_fields__):
        raise WireError("an answer that is no outcome")
    if _text(fields["status"]) not in _STATUSES:
        raise WireError("an outcome that is none of those that there are")
    room = limits.output + 200
    return CellOutcome(
        status=fields["status"],
        message=_text(fields["message"]),
        where=_lines(fields["where"]),
        notes=_lines(fields["notes"]),
        stdout=_text(fields["stdout"], room),
        stderr=_text(fields["stderr"], room),
        outputs=_outputs(fields["outputs"], limits),
        error=None if fields["error"] is None else _text(fields["error"]),
        missing=_lines(fields["missing"]),
    )


def _text(value: Any, most: int = _MAX_TEXT) -> str:
    if type(value) is not str:
        raise WireError("an answer with something else in the place of text")
    return clean(value, most)


def _lines(value: Any) -> tuple[str, ...]:
    if type(value) not in (list, tuple):
        raise WireError("an answer with something else in the place of lines")
    return tuple(map(_text, value[:_MAX_LINES]))


def _outputs(value: Any, limits: Limits) -> tuple[dict[str, str], ...]:
    if type(value) not in (list, tuple) or not all(type(b) is dict and all(type(v) is str for v in b.values()) for b in value):
        raise WireError("an answer with something else in the place of outputs")
    if sum(len(v) for b in value for v in b.values()) > limits.display:
        return ()
    return tuple({k: _text(v, len(v)) for k, v in b.items() if k in _MIMES and (k != "image/png" or _BASE64.match(v))} for b in value[:50])


def lost(error: Exception, ended: dict[str, Any], limits: Limits, *, what: str, seconds: float) -> Lost:
    """Why a process answered no more.

    Parameters
    ----------
    ended : what the zygote says about the process: wait status, CPU seconds, whether its files were too large
    what : what it was at, for the message: "The cell" or "The call"
    """
    status = ended.get("status", 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if ended.get("overfull"):
        return Lost("died", f"{what} wrote more into files than the {limits.files >> 20} MB that they may take.")
    if isinstance(error, TimeUp):
        return Lost("time", f"{what} was still running after {seconds:g} seconds: is there a loop that does not end?")
    if number == signal.SIGXCPU or (number == signal.SIGKILL and ended.get("cpu", 0.0) >= limits.cpu * 0.95):
        return Lost("time", f"The code used more than {limits.cpu:g} seconds of processor time.")
    if isinstance(error, WireError):
        return Lost("died", f"{what} ended in an answer that cannot be read: {error}.")
    if number == signal.SIGSEGV:
        return Lost("died", f"{what} crashed Python (segmentation fault): is there a recursion that does not end?")
    if number and number != signal.SIGKILL:
        return Lost("died", f"{what} ended Python with signal {signal.Signals(number).name}.")
    return Lost("died", f"{what} ended Python (os._exit, or killed by the system).")
