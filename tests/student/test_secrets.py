"""A student process holds nothing of the answers: neither the zygote's memory nor a probe brings them along."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

from autograder.errors import SandboxError
from autograder.student.observe import Call
from autograder.student.probes import CallFunction, Oracle
from autograder.student.process import Zygote

MARK = "marker" + "-of-a-hidden" + "-answer"

ANSWERS = f'''
SECRET = "{MARK}"
def reference(x):
    return x, "{MARK}"
def probe(submission, memory, oracle):
    return submission.search(memory)
'''

SEARCH = """
def search(parts):
    mark, found = "".join(parts).encode(), []
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps.read().splitlines():
            span, rights, *rest = line.split()
            if not rights.startswith("rw") or rest[-1] in ("[vvar]", "[vsyscall]"):
                continue
            start, end = (int(edge, 16) for edge in span.split("-"))
            memory.seek(start)
            try:
                block = memory.read(end - start)
            except OSError:
                continue
            at = block.find(mark)
            while at >= 0:
                found.append(start + at)
                at = block.find(mark, at + 1)
            del block
    return found
"""


def load_answers(folder: Path) -> ModuleType:
    """A stand-in for a chapter's answers file, imported as the engine imports one."""
    file = folder / "answers.py"
    file.write_text(ANSWERS)
    spec = importlib.util.spec_from_file_location("stand_in_answers", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stand_in_answers"] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


def test_no_marker_of_the_answers_is_in_a_childs_memory(unlocked: Zygote, tmp_path: Path) -> None:
    answers = load_answers(tmp_path)
    probe = cloudpickle.dumps(answers.probe)
    assert MARK.encode() not in probe
    with unlocked.submission("", SEARCH, name="a.b") as student:
        assert student.load().status == "ok"
        hidden = student.ask(probe, [Call((["marker", "-of-a-hidden", "-answer"], Oracle(answers.reference)))])[0]
    # the search itself holds the joined mark once or twice; the answers would be a third place
    assert hidden.error is None
    assert len(hidden.value) <= 2


def test_the_search_finds_what_is_there(unlocked: Zygote) -> None:
    def probe(submission, memory, kept):
        return submission.search(memory)

    with unlocked.submission("", SEARCH, name="a.b") as student:
        student.load()
        none = student.ask(cloudpickle.dumps(probe), [Call((["zygo", "te-mark"], None))])[0].value
        some = student.ask(cloudpickle.dumps(probe), [Call((["zygo", "te-mark"], ["zygo" + "te-mark"] * 3))])[0].value
    assert len(some) > len(none)


def test_a_child_has_imported_nothing_of_the_engine(unlocked: Zygote) -> None:
    with unlocked.submission("", "import sys\ndef f(): return sorted(sys.modules)", name="a.b") as student:
        student.load()
        loaded = student.ask(cloudpickle.dumps(CallFunction("f")), [Call()])[0].value
    ours = {m for m in loaded if m.partition(".")[0] in ("autograder", "chapters", "tests", "nbgrader", "hypothesis", "sqlalchemy")}
    judges = {f"autograder.student.{name}" for name in ("process", "prove", "machine", "replies", "attempts", "oracle")}
    assert {m for m in ours if not m.startswith("autograder.student")} == {"autograder", "autograder.errors"}
    assert ours & judges == set()


def test_a_zygote_knows_nothing_of_the_judges_environment_and_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADEBOOK_PASSWORD", MARK)
    zygote = Zygote(sandbox="none")
    assert MARK.encode() not in Path(f"/proc/{zygote._process.pid}/environ").read_bytes()
    zygote._process.kill()
    zygote._process.wait()
    with pytest.raises(SandboxError), zygote.submission("", "", name="a.b") as student:
        student.load()
    zygote.close()
