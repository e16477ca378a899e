"""One submission, one process: what it answers, and what becomes of it."""

import inspect
import os
import time
from collections.abc import Callable
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
import torch

from autograder.student.limits import MB, Limits
from autograder.student.observe import Call, Observation, _copied
from autograder.student.probes import CallFunction, Oracle, RunCheck
from autograder.student.process import MAX_LOSSES_OF_ALL, Zygote
from autograder.student.travel import pack, unpack
from autograder.student.warm import ON_FIRST_USE, libraries_for

SHORT = replace(Limits(), cell=1.0, call=0.5)
Ask = Callable[..., list[Observation]]
Once = Callable[..., Observation]
PROBE = cloudpickle.dumps(CallFunction("f"))


def test_a_submission_is_loaded_and_asked(unlocked: Zygote, ask: Ask) -> None:
    with unlocked.submission("import numpy as np", "def f(x):\n    return np.tanh(x)", name="a.b") as student:
        assert student.load().status == "ok"
        seen = ask(student, [(0.0,), (np.zeros(2, np.float32),), (None,)])
    assert seen[0].value == 0.0
    assert seen[1].value.dtype == np.float32
    assert seen[2].error == "TypeError"
    assert seen[2].where == ("line 2, in f: return np.tanh(x)",)


def test_a_broken_setup_cell_is_told_apart(unlocked: Zygote) -> None:
    with unlocked.submission("1 / 0", "x = 1", name="a.b") as student:
        outcome = student.load()
    assert outcome.status == "error"
    assert "set-up" in outcome.message


def test_what_an_erring_cell_defined_can_be_asked(unlocked: Zygote, observe_once: Once) -> None:
    assert observe_once(unlocked, "def f(): return 1\nundefined").value == 1


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("while True: pass", "time"),
        ("import os; os._exit(0)", "died"),
        ("import os; os.abort()", "died"),
        ("import ctypes; ctypes.string_at(0)", "died"),
        ("x = bytearray(1 << 40)", "memory"),
        ("import numpy as np; x = np.ones(1 << 37)", "memory"),
        ("import torch; x = torch.ones(1 << 37)", "memory"),
        ("def f(n): return f(n + 1)\nf(0)", "error"),
    ],
)
def test_a_cell_that_ends_badly_is_named_rightly(unlocked: Zygote, source: str, status: str) -> None:
    with unlocked.submission("", source, name="a.b", limits=SHORT) as student:
        assert student.load().status == status


def test_a_lost_cell_answers_every_call_at_once(unlocked: Zygote, ask: Ask) -> None:
    with unlocked.submission("", "while True: pass", name="a.b", limits=SHORT) as student:
        student.load()
        began = time.monotonic()
        assert {o.error for o in ask(student, [()] * 50)} == {"time"}
    assert time.monotonic() - began < 0.2


def test_a_call_that_is_lost_costs_only_itself(unlocked: Zygote, ask: Ask) -> None:
    source = "import os, time\ndef f(x):\n    if x == 1: time.sleep(60)\n    if x == 3: os._exit(1)\n    return x"
    with unlocked.submission("", source, name="a.b", limits=SHORT) as student:
        student.load()
        first = ask(student, [(0,), (1,), (2,)])
        second = ask(student, [(2,), (3,), (4,)])
    assert [o.value for o in first] == [0, None, 2]
    assert first[1].error == "time"
    assert [o.value for o in second] == [2, None, 4]
    assert second[1].error == "died"


def test_losses_are_bounded(unlocked: Zygote, ask: Ask) -> None:
    with unlocked.submission("", "import os\ndef f(): os._exit(1)", name="a.b", limits=SHORT) as student:
        student.load()
        for _ in range(5):
            assert {o.error for o in ask(student, [()] * 30)} == {"died"}
        assert student._losses == MAX_LOSSES_OF_ALL


def test_a_life_is_limited_however_often_a_process_is_lost(unlocked: Zygote, ask: Ask) -> None:
    source = "import os, time\ntime.sleep(0.6)\ndef f(x):\n    time.sleep(0.3)\n    if x == 2: os._exit(1)"
    limits = replace(SHORT, cell=1.0, call=0.5, ask=1.0, life=2.0)
    began = time.monotonic()
    with unlocked.submission("", source, name="a.b", limits=limits) as student:
        student.load()
        seen = [o.error for _ in range(4) for o in ask(student, [(0,), (1,), (2,), (3,), (4,)])]
    assert time.monotonic() - began < limits.life + 1
    assert len(seen) == 20
    assert seen[-1] == "time"


@pytest.mark.parametrize("field", ["nonce", "index"])
@pytest.mark.parametrize("value", ["np.zeros(2)", "torch.zeros(2)", "True", "[]", "None"])
def test_an_answer_is_to_the_question_or_none(unlocked: Zygote, ask: Ask, field: str, value: str) -> None:
    source = (
        "import sys, torch, numpy as np\ndef f(x):\n    frame = sys._getframe()\n"
        "    while type(frame.f_locals.get('self')).__name__ != 'Server': frame = frame.f_back\n    me = frame.f_locals['self']\n"
        f"    me.channel.send({{'nonce': me.nonce, 'index': me.index, 'value': 1}} | {{'{field}': {value}}})"
    )
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert [o.error for o in ask(student, [(0,), (1,)])] == ["died", "died"]


def test_a_lost_call_changes_no_random_number(unlocked: Zygote, ask: Ask) -> None:
    source = "import os, numpy as np, torch, random\ndef f(x):\n    if x: os._exit(1)\n"
    source += "    return [random.random(), np.random.rand(), torch.rand(1)]"
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        plain, lossy = ask(student, [(0,), (0,), (0,)]), ask(student, [(0,), (1,), (0,)])
    assert plain[2].value == lossy[2].value
    assert plain[1].value != plain[2].value


def test_processor_time_is_limited(unlocked: Zygote) -> None:
    with unlocked.submission("", "while True: pass", name="a.b", limits=replace(Limits(), cpu=1.0)) as student:
        outcome = student.load()
    assert outcome.status == "time"
    assert "processor" in outcome.message


def test_packed_calls_serve_many(unlocked: Zygote) -> None:
    packed = pack([Call((np.arange(3),)), Call((1,), {})])
    for factor in (2, 3):
        with unlocked.submission("", f"def f(x): return x * {factor}", name="a.b") as student:
            student.load()
            assert student.ask(PROBE, packed)[1].value == factor


def test_oracles_answer_and_do_not_travel(unlocked: Zygote) -> None:
    key = "a secret that stays"
    oracle = Oracle(lambda x, scale=1: len(key) and x * scale)
    packed = pack([Call((oracle,))])
    assert b"a secret" not in packed.data
    source = (
        "import torch, numpy as np\ndef f(g):\n    return [type(g(torch.ones(2), scale=3)).__name__, type(g(np.ones(2))).__name__, g(2)]"
    )
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert student.ask(PROBE, packed)[0].value == ["Tensor", "ndarray", 2]


def test_an_oracle_is_given_pythons_numbers(unlocked: Zygote) -> None:
    source = "import numpy as np\ndef f(g): return g(np.int64(1), scale=np.float32(0.5))"
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        oracle = Oracle(lambda axis, scale: [type(axis).__name__, type(scale).__name__])
        assert student.ask(PROBE, [Call((oracle,))])[0].value == ["int", "float"]


@pytest.mark.parametrize("end", ["sys.exit('no')", "raise KeyboardInterrupt", "assert False", "None"])
def test_a_check_rejects_by_whatever_it_raises(unlocked: Zygote, end: str) -> None:
    with unlocked.submission("", f"import sys\ndef check(g):\n    {end}", name="a.b") as student:
        student.load()
        probe = cloudpickle.dumps(RunCheck("check"))
        assert student.ask(probe, [Call((Oracle(abs),))])[0].value is (end == "None")


def test_an_oracles_error_tells_its_type_and_nothing_of_the_function(unlocked: Zygote) -> None:
    def fails(x: int) -> int:
        raise ZeroDivisionError("nothing to share")

    source = "def f(g):\n    try:\n        g(1)\n    except ZeroDivisionError as e:\n        return str(e)"
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert student.ask(PROBE, [Call((Oracle(fails),))])[0].value == "this function fails on these arguments"


@pytest.mark.parametrize(
    ("function", "argument"), [(lambda n: np.ones(n), 1 << 37), (lambda n: [None for _ in iter(int, 1)], 0), (lambda n: object(), 0)]
)
def test_an_oracle_is_limited(unlocked: Zygote, function: Callable, argument: int) -> None:
    limits = replace(Limits(), oracle_seconds=0.3, call=5.0)
    with unlocked.submission("", f"def f(g): return g({argument})", name="a.b", limits=limits) as student:
        student.load()
        assert student.ask(PROBE, [Call((Oracle(function),))])[0].error in ("memory", "MemoryError", "RuntimeError", "TypeError")


def test_an_oracle_is_not_asked_without_end(unlocked: Zygote) -> None:
    limits = replace(Limits(), oracle_calls=10)
    with unlocked.submission("", "def f(g):\n    for i in range(11): g(i)", name="a.b", limits=limits) as student:
        student.load()
        assert "too often" in student.ask(PROBE, [Call((Oracle(lambda i: i),))])[0].message


def test_results_that_do_not_travel_are_errors(unlocked: Zygote, observe_once: Once) -> None:
    assert observe_once(unlocked, "def f(): return object()").error == "NotPlainError"
    large = replace(Limits(), message=MB)
    assert observe_once(unlocked, "import numpy as np\ndef f(): return np.zeros(1 << 18)", limits=large).error == "NotPlainError"
    many = "def f(): return list(range(10**6))"
    assert observe_once(unlocked, many).error == "NotPlainError"


def test_what_a_process_started_ends_with_it(unlocked: Zygote, tmp_path: os.PathLike) -> None:
    mark = f"{tmp_path}/pid"
    source = f"import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        open({mark!r}, 'w').write(str(os.getpid()))\n        time.sleep(60)\n    os._exit(0)\nwhile not os.path.exists({mark!r}): time.sleep(0.01)"  # noqa: E501
    with unlocked.submission("", source, name="a.b") as student:
        assert student.load().status == "ok"
    with open(mark) as file:
        pid = int(file.read())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_many_forks_leave_nothing_behind(unlocked: Zygote) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with unlocked.submission("", "open('a', 'w').write('x')", name="a.b") as student:
            student.load()
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(unlocked._home) == []


def test_learning_frameworks_work_inside(locked: Zygote, observe_once: Once) -> None:
    source = """
import torch, numpy as np, matplotlib.pyplot as plt, tempfile
def f(x):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 1))
    step = torch.optim.AdamW(model.parameters())
    model(torch.as_tensor(x)).sum().backward()
    step.step()
    torch.save(model.state_dict(), "model.pt")
    model.load_state_dict(torch.load("model.pt"))
    plt.plot([1, 2])
    plt.savefig("figure.png")
    with tempfile.TemporaryFile() as file:
        np.save(file, x)
    return [name for name in ("figure.png", "model.pt") if __import__("os").path.getsize(name)]
"""
    assert observe_once(locked, source, np.zeros((1, 1, 4, 4), np.float32)).value == ["figure.png", "model.pt"]


def test_only_chapters_that_train_with_optimizers_are_waited_for(tmp_path) -> None:
    for name, code in {"plain": "loss.backward()  # an optimizer would step", "training": "torch.optim.SGD(net.parameters(), 0.1)"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "answers.py").write_text(code)
    assert libraries_for([tmp_path / "plain", tmp_path / "none"]) == []
    assert libraries_for([tmp_path / "plain", tmp_path / "training"]) == [ON_FIRST_USE]


def test_probes_with_tensors_and_generators_travel(unlocked: Zygote) -> None:
    def probe(submission, x, rng):
        return submission.f(x) + rng.normal(size=2)

    with unlocked.submission("", "def f(x): return (x * 2).numpy()", name="a.b") as student:
        student.load()
        seen = student.ask(cloudpickle.dumps(probe), [Call((torch.ones(2), np.random.default_rng(0)))])
    assert np.array_equal(seen[0].value, 2 + np.random.default_rng(0).normal(size=2))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).t(),
        torch.arange(6)[2:],
        torch.tensor(1.5, dtype=torch.float64),
        torch.zeros(0, 3),
        torch.ones(1).expand(2, 3),
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(2, dtype=torch.complex64).conj(),
        torch.ones(2, requires_grad=True),
        torch.nn.Parameter(torch.ones(2)),
        torch.tensor([True, False]),
    ],
    ids=str,
)
def test_a_tensor_arrives_as_it_was_and_its_copy_is_its_own(tensor: torch.Tensor) -> None:
    for other in (unpack(pack([Call((tensor,))]).data, lambda index: None)[0].args[0], _copied(Call((tensor,))).args[0]):
        assert type(other) is type(tensor)
        assert (other.dtype, other.shape, other.requires_grad) == (tensor.dtype, tensor.shape, tensor.requires_grad)
        assert torch.equal(other, tensor)
        assert other.data_ptr() != tensor.data_ptr() or not tensor.numel()


def test_what_is_one_tensor_stays_one() -> None:
    both = torch.ones(2)
    first, second = unpack(pack([Call((both, both))]).data, lambda index: None)[0].args
    assert first is second


def test_a_fork_computes_in_one_thread(unlocked: Zygote, observe_once: Once) -> None:
    source = "import torch, threading\ndef f():\n    torch.ones(500, 500) @ torch.ones(500, 500)\n"
    source += "    return [torch.get_num_threads(), threading.active_count()]"
    assert observe_once(unlocked, source).value == [1, 1]


def test_an_oracle_has_the_name_and_signature_that_it_shall_show(unlocked: Zygote) -> None:
    def scaled(x, scale=1.0):
        return x * scale

    oracle = Oracle(lambda *args: 0, "softmax", inspect.signature(scaled))
    source = "import inspect\ndef f(g): return g.__name__, str(inspect.signature(g))"
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert student.ask(PROBE, [Call((oracle,))])[0].value == ("softmax", "(x, scale=1.0)")
    assert (oracle.__name__, str(inspect.signature(oracle))) == ("softmax", "(x, scale=1.0)")


@pytest.mark.parametrize(
    "silence", ["import logging; logging.captureWarnings(True)", "import warnings; warnings.simplefilter('ignore')", ""]
)
def test_what_overflows_is_told_whatever_becomes_of_the_warning(unlocked: Zygote, silence: str) -> None:
    source = f"import numpy as np\ndef f(x):\n    {silence or 'pass'}\n    return np.exp(x)"
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert student.ask(PROBE, [Call((np.array([1e4]),))])[0].warnings == ("overflow encountered",)


def test_a_warning_can_still_be_made_an_error(unlocked: Zygote) -> None:
    source = """
import warnings
import numpy as np
def f(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.exp(x)
        except RuntimeWarning:
            return "too large"
"""
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert student.ask(PROBE, [Call((np.array([1e4]),))])[0].value == "too large"
