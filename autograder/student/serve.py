"""What a fork does: load the cells, then answer questions until the judge hangs up.

The learner's code shares this process and may change any of this. That is why nothing here is believed: whatever it does, it can only
give a wrong answer to a question that was asked.
"""

import io
import pickle
import random
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from autograder.errors import WireError
from autograder.student.cells import SETUP, Cells, as_main, code_of, is_out_of_memory
from autograder.student.channel import Channel, Ended
from autograder.student.forbidden import Forbidden
from autograder.student.limits import Limits
from autograder.student.observe import Call, Observation, namespace, observe
from autograder.student.outcome import CellOutcome
from autograder.student.travel import exception, unpack


class Server:
    """Answers the judge from within a fork."""

    def __init__(self, channel: Channel, limits: Limits) -> None:
        self.channel = channel
        self.cells = Cells(limits)
        self.forbidden = Forbidden({}, self.cells.learner_files)
        self.nonce, self.index = "", 0

    def run(self) -> None:
        """Serve until the socket closes."""
        while True:
            try:
                message, _ = self.channel.receive()
            except Ended:
                return
            self.nonce = message["nonce"]
            if message["do"] == "load":
                self.load(message)
            else:
                self.ask(message)

    def load(self, message: dict[str, Any]) -> None:
        """Run the set-up cell, then the solution cell, and tell how it went."""
        code = code_of(message["setup"], SETUP)
        self.forbidden = Forbidden(message["forbid"], lambda file: file != SETUP and self.cells.learner_files(file), code)
        before = self.cells.run(message["setup"], SETUP) if message["setup"].strip() else CellOutcome()
        if before.status == "ok":
            with self.forbidden.watching(self.cells.module.__dict__, loading=True):
                outcome = self.cells.run(message["source"], message["name"])
        else:
            outcome = CellOutcome(before.status, f"In the set-up cell: {before.message}", before.where, error=before.error)
        names = self.cells.names
        missing = tuple(name for name in message["wanted"] if not callable(names.get(name)))
        fields = vars(outcome) | {"notes": before.notes + outcome.notes, "missing": missing}
        self.channel.send({"nonce": self.nonce, "outcome": fields})

    def ask(self, message: dict[str, Any]) -> None:
        """Answer a question: each of its calls from `start` on."""
        try:
            probe = pickle.loads(message["probe"].tobytes())
            calls = unpack(message["calls"].tobytes(), self.consult)
        except BaseException as error:  # a learner's code may have broken what a probe needs
            self.channel.send({"nonce": self.nonce, "failed": f"{type(error).__name__}: {error}"[:500]})
            return
        submission = namespace(self.cells.names)
        with as_main(self.cells.module), self.forbidden.watching(self.cells.module.__dict__):
            for self.index in range(message["start"], len(calls)):
                seen = self.answer(probe, submission, calls[self.index])
                self.reply(seen, at_once=message["careful"] or self.index == message["start"])
        self.channel.flush()

    def answer(self, probe: Callable, submission: Any, call: Call) -> Observation:
        """Observe one call, silently, from a known state of the random generators."""
        seed(self.index)
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = Nowhere(), Nowhere()
        try:
            seen = observe(probe, submission, call, self.cells.learner_files)
        except MemoryError:
            seen = Observation(error="memory", message="The code asked for more memory than it may have.")
        except BaseException as error:  # KeyboardInterrupt and the like
            seen = Observation(error=type(error).__name__, message=str(error)[:500])
        finally:
            sys.stdout, sys.stderr = before
        if is_out_of_memory(seen.error or "", seen.message):
            return Observation(error="memory", message="The code asked for more memory than it may have.")
        return seen

    def reply(self, seen: Observation, at_once: bool) -> None:
        """Send one observation; one that does not travel is an error of the submission."""
        send = self.channel.send if at_once else self.channel.hold
        fields = {"nonce": self.nonce, "index": self.index, "value": seen.value}
        fields |= {name: getattr(seen, name) for name in ("error", "message", "where", "warnings", "changed") if getattr(seen, name)}
        try:
            send(fields)
        except WireError as error:
            send({"nonce": self.nonce, "index": self.index} | asdict(Observation(error="NotPlainError", message=str(error))))

    def consult(self, oracle: int, args: tuple, kwargs: dict) -> Any:
        """Let the judge call an oracle."""
        try:
            self.channel.send({"nonce": self.nonce, "index": self.index, "oracle": oracle, "args": list(args), "kwargs": kwargs})
        except WireError as error:
            raise TypeError(f"this function takes plain data only: {error}") from None
        answer, _ = self.channel.receive(tensors=True)
        if "error" in answer:
            raise exception(answer["error"], answer["message"])
        return _writable(answer["value"])


class Nowhere(io.TextIOBase):
    """A text file that forgets what is written."""

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Forget `text`."""
        return len(text)


def seed(number: int) -> None:
    """Put every random generator into a known state, so that a lost process and its successor see the same numbers."""
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)  # torch.manual_seed also asks every kind of accelerator: 0.3 ms


def _writable(value: Any) -> Any:
    """Arrays as a function would have returned them."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (list, tuple)):
        return type(value)(_writable(v) for v in value)
    if isinstance(value, dict):
        return {k: _writable(v) for k, v in value.items()}
    return value
