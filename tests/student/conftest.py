"""Zygotes that the tests share: one per way of locking in, since each takes seconds to warm."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cloudpickle
import pytest

from autograder.student import machine
from autograder.student.observe import Call, Observation
from autograder.student.probes import CallFunction
from autograder.student.process import Student, Zygote


@pytest.fixture(scope="session")
def unlocked() -> Iterator[Zygote]:
    """Processes apart, nothing locked."""
    with Zygote(sandbox="none") as zygote:
        yield zygote


@pytest.fixture(scope="session")
def locked() -> Iterator[Zygote]:
    """Everything that this machine grants."""
    if machine.missing():
        pytest.skip("; ".join(machine.missing()))
    with Zygote() as zygote:
        yield zygote


@pytest.fixture(scope="session")
def bare() -> Iterator[Zygote]:
    """Landlock and seccomp alone, as on a machine without namespaces."""
    if machine.missing():
        pytest.skip("; ".join(machine.missing()))
    with Zygote(namespaces=False) as zygote:
        yield zygote


@pytest.fixture
def ask() -> Callable[..., list[Observation]]:
    """Call a submission's function `f` once per tuple of arguments."""

    def asked(student: Student, arguments: Sequence[tuple], function: str = "f") -> list[Observation]:
        return student.ask(cloudpickle.dumps(CallFunction(function)), [Call(a) for a in arguments])

    return asked


@pytest.fixture
def observe_once(ask: Callable[..., list[Observation]]) -> Callable[..., Observation]:
    """Load a source text and call its `f` once."""

    def observed(zygote: Zygote, source: str, *args: Any, **options: Any) -> Observation:
        with zygote.submission("", source, name="test.f", **options) as student:
            student.load()
            return ask(student, [args])[0]

    return observed
