"""The lock holds: from within, and against what a hostile process sends."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.errors import SandboxError
from autograder.student import landlock, machine, prove, seccomp
from autograder.student.limits import MB, Limits
from autograder.student.observe import Observation
from autograder.student.places import readable, refuse_overlap
from autograder.student.process import Zygote

Ask = Callable[..., list[Observation]]
Once = Callable[..., Observation]
linux = pytest.mark.skipif(bool(machine.missing()), reason="this machine cannot lock")


@linux
@pytest.mark.parametrize("zygote", ["locked", "bare"])
def test_every_needed_promise_holds(zygote: str, request: pytest.FixtureRequest) -> None:
    proofs = prove.prove(request.getfixturevalue(zygote))
    assert [p for p in proofs if p.needed and not p.held] == []
    assert len(proofs) > 35
    prove.require(proofs)


def test_attempts_get_through_where_nothing_is_locked(unlocked: Zygote, ask: Ask, tmp_path: Path) -> None:
    secret = tmp_path / "answers.py"
    secret.write_text("x")
    source = f"{prove.ATTEMPTS}\ndef attempt(name, args):\n    return globals()[name](*args)"
    tries = [(name, (str(secret),)) for name in ("read", "link", "look", "write", "truncate")]
    tries += [
        ("folder", ("/",)),
        ("execute", ()),
        ("fork", ()),
        ("network", (2, 1)),
        ("send_signal", (os.getpid(),)),
        ("fill_many", (MB,)),
    ]
    with unlocked.submission("", source, name="a.b") as student:
        student.load()
        assert [o.message for o in ask(student, tries, "attempt") if o.error] == []


def test_a_broken_promise_refuses_with_advice() -> None:
    with pytest.raises(SandboxError, match=r"cannot fly: it flew[^$]*--sandbox=none"):
        prove.require([prove.Proof("cannot fly", False, "it flew"), prove.Proof("cannot sing", False, "", needed=False)])


def test_a_machine_without_landlock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    with pytest.raises(SandboxError, match=r"Landlock[^$]*--sandbox=none"):
        Zygote()


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="parts of Linux"):
        machine.require_full()


def test_a_course_among_pythons_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="Move the course"):
        refuse_overlap([str(tmp_path)], [str(tmp_path / "chapters")])


def test_the_course_is_not_among_the_readable_places() -> None:
    root = Path(__file__).resolve().parents[2]
    for hidden in ("", "chapters", "source", "autograder", "autograder/engine.py", "gradebook.db", "tests"):
        refuse_overlap(readable(), [str(root / hidden)])


@linux
def test_the_filter_knows_every_call_by_its_number() -> None:
    pyseccomp = pytest.importorskip("pyseccomp")
    from autograder.student import syscalls

    for table in (syscalls.ALLOWED, syscalls.PRETENDED, syscalls.ABSENT, syscalls.FILTERED):
        for name, (x86, arm) in table.items():
            found = [pyseccomp.resolve_syscall(arch, name) for arch in (pyseccomp.Arch.X86_64, pyseccomp.Arch.AARCH64)]
            assert found[0] in (x86, -1), name
            assert found[1] in (arm, -1) or (arm is None and found[1] < 0), name


@linux
@pytest.mark.parametrize("zygote", ["locked", "bare"])
def test_a_work_folder_is_private_and_limited(zygote: str, request: pytest.FixtureRequest) -> None:
    limits = replace(Limits(), files=8 * MB)
    source = "import time\nfor i in range(1000):\n    open(str(i), 'wb').write(bytes(1 << 20))\n    time.sleep(0.01)"
    with request.getfixturevalue(zygote).submission("", source, name="a.b", limits=limits) as student:
        assert student.load().status in ("error", "died")


@linux
def test_a_work_folder_is_watched_however_busy_the_zygote_is(bare: Zygote) -> None:
    source = "import time\nfor i in range(60):\n    open(str(i), 'wb').write(bytes(1 << 20))\n    time.sleep(0.02)\ntime.sleep(20)"
    with bare.submission("", source, name="a.b", limits=replace(Limits(), files=8 * MB)) as student:
        loading = threading.Thread(target=student.load)
        loading.start()
        while loading.is_alive():
            with bare.submission("", "x = 1", name="a.c") as other:
                other.load()
        assert student.outcome.status == "died"
        assert "more into files than the 8 MB" in student.outcome.message


@linux
def test_forks_at_one_time_run_on_cores_of_their_own(locked: Zygote, ask: Ask) -> None:
    source = "import os\ndef f(): return sorted(os.sched_getaffinity(0))"
    with locked.submission("", source, name="a.b") as one, locked.submission("", source, name="a.c") as two:
        one.load(), two.load()
        cores = [ask(student, [()])[0].value for student in (one, two)]
    assert [len(c) for c in cores] == [1, 1]
    assert cores[0] != cores[1] or len(os.sched_getaffinity(0)) == 1


@linux
def test_hostile_folders_are_removed(bare: Zygote) -> None:
    source = "import os\nfor _ in range(400):\n    os.mkdir('d' * 200, 0o000 if _ == 399 else 0o700); os.chdir('d' * 200)"
    with bare.submission("", source, name="a.b") as student:
        student.load()
    assert os.listdir(bare._home) == []


FORGE = """
import os, socket, struct, threading, time
from autograder.student.wire import encode
sock = socket.socket(fileno=3)
def frame(message, prefix=b""):
    data = encode(message)
    return struct.pack("<I", len(data)) + data
RIGHT = {"value": "forged", "error": None, "message": "", "where": (), "warnings": (), "changed": ()}
"""


@linux
@pytest.mark.parametrize(
    "attack",
    [
        "sock.send(frame({'nonce': '', 'outcome': {}}))",
        "[sock.send(frame({'nonce': '', 'index': i, 'seen': RIGHT})) for i in range(50)]",
        "sock.send(struct.pack('<I', 0xFFFFFFFF))",
        "sock.send(struct.pack('<I', 1 << 24) + b'W1l' * 1000)",
        "sock.send(b'\\x00' * 100)",
        "sock.shutdown(socket.SHUT_WR)",
        "sock.close()",
        "os.dup2(0, 3)",
    ],
)
def test_answers_written_beforehand_count_for_nothing(locked: Zygote, ask: Ask, attack: str) -> None:
    limits = replace(Limits(), cell=0.5, call=0.5)
    with locked.submission("", f"{FORGE}\ndef f(): return 'honest'\n{attack}", name="a.b", limits=limits) as student:
        student.load()
        assert all(o.value is None and o.error in ("died", "time") for o in ask(student, [()] * 3))


@linux
def test_a_thread_that_answers_later_is_told_apart_from_the_answer(locked: Zygote, ask: Ask) -> None:
    source = f"""{FORGE}
from autograder.student import serve
import gc
def flood():
    server = next(o for o in gc.get_objects() if type(o).__name__ == "Server")
    nonce = server.nonce
    time.sleep(0.3)
    while True:
        try:
            sock.sendall(frame({{"nonce": nonce, "index": 0, **RIGHT}}))
        except OSError:
            return
def f(x):
    if x == 0: threading.Thread(target=flood, daemon=True).start()
    return x
"""
    with locked.submission("", source, name="a.b", limits=replace(Limits(), call=1.0)) as student:
        student.load()
        assert ask(student, [(0,)])[0].value == 0
        time.sleep(0.5)
        assert {o.value for o in ask(student, [(1,)] * 3)} <= {1, None}


@linux
def test_a_flood_of_answers_is_cut(locked: Zygote, ask: Ask) -> None:
    limits = replace(Limits(), replies=4 * MB, message=2 * MB)
    with locked.submission("", "import numpy as np\ndef f(): return np.zeros(1 << 17)", name="a.b", limits=limits) as student:
        student.load()
        seen = ask(student, [()] * 10)
    assert sum(o.error is None for o in seen) <= 6
    assert seen[-1].error == "died"


@linux
def test_answers_that_are_small_on_the_wire_and_large_in_memory_are_cut(locked: Zygote, ask: Ask) -> None:
    limits = replace(Limits(), replies=16 * MB)
    with locked.submission("", "def f(): return [[] for _ in range(10**5)]", name="a.b", limits=limits) as student:
        student.load()
        seen = ask(student, [()] * 10)
    assert sum(o.error is None for o in seen) <= 6
    assert seen[-1].error == "died"


@linux
def test_a_slow_drip_does_not_hold_the_judge(locked: Zygote, ask: Ask) -> None:
    source = f"{FORGE}\ndef f():\n    sock.send(struct.pack('<I', 10**6))\n    while True: sock.send(b'x'); time.sleep(0.05)"
    with locked.submission("", source, name="a.b", limits=replace(Limits(), call=0.5)) as student:
        student.load()
        began = time.monotonic()
        assert ask(student, [()])[0].error == "time"
        assert time.monotonic() - began < 2


@linux
def test_forged_observations_keep_their_bounds(locked: Zygote, ask: Ask) -> None:
    source = f"""{FORGE}
import gc
def f(message):
    server = next(o for o in gc.get_objects() if type(o).__name__ == "Server")
    sock.sendall(frame({{"nonce": server.nonce, "index": 0, **RIGHT, **message}}))
    time.sleep(5)
"""
    bad = [{"error": 5}, {"where": "text"}, {"warnings": (1,)}, {"extra": 1}, {"message": None}, {"changed": {"a": 1}}]
    limits = replace(Limits(), call=1.0)
    for message in bad[:3] + bad[3:]:
        with locked.submission("", source, name="a.b", limits=limits) as student:
            student.load()
            assert ask(student, [(message,)])[0].error == "died"
    with locked.submission("", source, name="a.b", limits=limits) as student:
        student.load()
        seen = ask(student, [({"message": "x" * 10**5, "where": ("y" * 10**5,) * 1000},)])[0]
    assert len(seen.message) <= 2000
    assert len(seen.where) <= 20
    assert len(seen.where[0]) <= 2000


def test_text_of_a_submission_can_be_printed_and_stored(unlocked: Zygote, observe_once: Once) -> None:
    seen = observe_once(unlocked, "def f(): raise ValueError('\\ud800 \\x1b[2J \\x00 é\\n')")
    assert seen.message == "? \ufffd[2J \ufffd é\n"


def test_integers_of_a_submission_can_be_printed(unlocked: Zygote, observe_once: Once) -> None:
    assert observe_once(unlocked, "def f(): return 10**5000").error == "NotPlainError"


def test_a_submission_sees_no_path_to_the_course(unlocked: Zygote, observe_once: Once) -> None:
    root = str(Path(__file__).resolve().parents[2])
    seen = observe_once(unlocked, "import os, sys\ndef f(): return [sys.path, dict(os.environ), os.listdir('.')]").value
    assert root not in seen[0]
    assert not any(root in value for value in seen[1].values())
    assert seen[2] == []


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_root_becomes_nobody_where_it_can(locked: Zygote, observe_once: Once) -> None:
    if locked.greeting["namespaces"]:
        assert observe_once(locked, "import os\ndef f(): return os.getuid()").value >= 2_000_000_000


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to lose")
def test_no_program_that_a_fork_might_start_has_capabilities() -> None:
    code = (
        "from autograder.student import lock\n"
        "def bounds():\n    return next(line for line in open('/proc/self/status') if 'CapBnd' in line).split()[1]\n"
        "lock.rule_out_programs()\nprint(bounds())\nlock._rule_out(lock._OF_RM)\nprint(bounds())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [int(line, 16) for line in done.stdout.split()] == [0b1110, 0]


@linux
def test_two_submissions_do_not_see_each_other(locked: Zygote, ask: Ask) -> None:
    with (
        locked.submission("", "open('mine', 'w').write('x')\nimport os\ndef f(): return os.getcwd()", name="a.b") as one,
        locked.submission("", "import os\ndef f(p): return open(p + '/mine').read()", name="a.b") as two,
    ):
        one.load(), two.load()
        place = ask(one, [()])[0].value
        assert ask(two, [(place,)])[0].error == "PermissionError"


@linux
def test_everything_ends_with_the_judge(tmp_path: Path) -> None:
    code = (
        "from autograder.student.process import Zygote\nimport os, sys, threading\nz = Zygote()\nz.greeting\n"
        "s = z.submission('', 'while True: pass', name='a.b')\n"
        "threading.Timer(0.5, lambda: (print(z._process.pid, flush=True), os.kill(os.getpid(), 9))).start()\ns.load()"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}, check=False)
    pid = int(done.stdout)
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the zygote outlived the judge")


def test_seccomp_is_found_where_it_is() -> None:
    assert seccomp.supported() == (sys.platform == "linux")
