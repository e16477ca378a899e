"""What a task rules out cannot be reached by another spelling, and everything is put back."""

import builtins
import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from autograder.student.forbidden import Forbidden, ForbiddenError
from autograder.student.observe import Observation
from autograder.student.process import Zygote

HEAD = "import functools, math, numpy as np, torch, torch.nn.functional as F\nfrom numpy import tanh as t\n"


ANGLES = {f"{home}.{name}": "" for home in ("math", "numpy") for name in ("cos", "sin", "tan", "cosh", "tanh")}


def names_of(source: str) -> dict[str, Any]:
    """The globals of a learner's cell."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(HEAD + source, "<exercise a.b>", "exec"), names)
    return names


@contextmanager
def ruled_out(forbid: dict[str, str], names: dict[str, Any]) -> Iterator[None]:
    """What a learner's code with these globals meets."""
    rules = Forbidden(forbid, lambda file: file.startswith("<exercise"))
    try:
        with rules.watching(names):
            yield
    finally:
        rules.restore()


def call(source: str, forbid: dict[str, str]) -> Any:
    """`f(x)` with x = ones(3) under `forbid`, in this process."""
    names = names_of(source)
    with ruled_out(forbid, names):
        return names["f"](np.ones(3))


@pytest.mark.parametrize(
    "body",
    [
        "np.tanh(x)",
        "t(x)",
        "getattr(np, 'ta' + 'nh')(x)",
        "np.vectorize(np.tanh)(x)",
        "list(map(np.tanh, x))",
        "eval('np.tanh(x)')",
        "np._core.umath.tanh(x)",
        "math.tanh(x[0])",
        "torch.tanh(torch.tensor(x))",
        "torch.tensor(x).tanh()",
        "torch.tensor(x).tanh_()",
        "F.tanh(torch.tensor(x))",
        "torch.nn.Tanh()(torch.tensor(x))",
        "torch.ops.aten.tanh(torch.tensor(x))",
        "torch._C._VariableFunctions.tanh(torch.tensor(x))",
        "__import__('numpy').tanh(x)",
        "(lambda g: g(x))(np.tanh)",
        "functools.singledispatch(np.tanh)(x)",
    ],
)
def test_a_function_is_ruled_out_under_every_name(body: str) -> None:
    with pytest.raises(ForbiddenError, match="tanh is ruled out in this task: too easy"):
        call(f"def f(x): return {body}", {"numpy.tanh": "too easy"})


@pytest.mark.parametrize("body", ["x.sum()", "np.sum(x)", "np.ndarray.sum(x)", "getattr(x, 'su' + 'm')()", "torch.tensor(x).sum()"])
def test_methods_of_the_same_name_are_ruled_out(body: str) -> None:
    with pytest.raises(ForbiddenError):
        call(f"def f(x): return {body}", {"numpy.sum": ""})


@pytest.mark.parametrize(
    "body", ["np.std(x)", "np.exp(x)", "np.cov(x)", "torch.sigmoid(torch.tensor(x))", "np.linalg.norm(x)", "np.average(x)"]
)
def test_what_libraries_call_among_themselves_is_fine(body: str) -> None:
    call(f"def f(x): return {body}", {"numpy.sqrt": "", "numpy.sum": "", "torch.exp": ""} if body != "np.exp(x)" else {"numpy.sqrt": ""})


@pytest.mark.parametrize(
    "body",
    [
        "torch.tanh(torch.tensor(x))",
        "F.softmax(x, 0)",
        "__import__('torch')",
        "importlib.import_module('torch.nn')",
        "sys.modules['torch'].tensor(x).exp()",
        "eval(\"__import__('torch')\")",
        "inner(x)",
    ],
)
def test_a_module_is_ruled_out_under_every_name(body: str) -> None:
    source = f"import importlib, sys\ndef inner(x):\n    from torch import tensor\n    return tensor(x)\ndef f(x): return {body}"
    with pytest.raises(ForbiddenError, match="torch is ruled out"):
        call(source, {"torch": ""})


@pytest.mark.parametrize(
    "body",
    [
        "from torch.nn.init import ones_",
        "from torch.nn import init",
        "import torch.nn.init",
        "from importlib import import_module as i; i('torch.nn.init')",
    ],
)
def test_a_module_within_a_module_is_ruled_out(body: str) -> None:
    with pytest.raises(ForbiddenError, match=r"torch\.nn\.init is ruled out"):
        call(f"def f(x):\n    {body}", {"torch.nn.init": ""})


SILENCE = dict.fromkeys(("numpy.errstate", "numpy.seterr", "numpy.seterrcall", "warnings"), "")


@pytest.mark.parametrize(
    "body", ["np.isclose(x, x)", "str(x)", "np.ma.exp(x)", "np.ma.array(x) * 2", "np.linalg.inv(np.eye(2))", "np.exp(x)"]
)
def test_numpy_may_silence_what_it_likes(body: str) -> None:
    call(f"def f(x): return {body}", SILENCE)


@pytest.mark.parametrize(
    "body",
    [
        "np.errstate(over='ignore')",
        "getattr(np, 'err' + 'state')(over='ignore')",
        "np.errstate.__new__(np.errstate).__enter__()",
        "np._core.umath._make_extobj(all='ignore')",
        "np.geterrcall()",
        "np.testing.suppress_warnings()",
        "np.seterr(all='ignore')",
        "list(map(np.seterr, ['ignore']))",
        "__import__('warnings').simplefilter('ignore')",
    ],
)
def test_a_learner_may_not(body: str) -> None:
    with pytest.raises(ForbiddenError):
        call(f"def f(x): return {body}", SILENCE)


@pytest.mark.parametrize("name", ["math.tanh", "numpy.tanh"])
def test_it_is_called_by_the_name_that_was_used(name: str) -> None:
    with pytest.raises(ForbiddenError, match=f"^{name} is ruled out"):
        call(f"import numpy\ndef f(x): return {name}(0.5)", {"numpy.tanh": "", "math.tanh": ""})


@pytest.mark.parametrize("attribute", ["__wrapped__", "_original", "_found", "_kept"])
def test_no_attribute_of_a_substitute_leads_around_it(attribute: str) -> None:
    assert not call(f"def f(x): return hasattr(np.tanh, '{attribute}')", {"numpy.tanh": ""})


def test_a_class_is_ruled_out() -> None:
    with pytest.raises(ForbiddenError):
        call("class L(torch.nn.LayerNorm): pass\ndef f(x): return L(3)", {"torch.nn.LayerNorm": ""})


def test_a_probe_may_use_what_the_learner_may_not() -> None:
    names = names_of("def f(x): return x")
    with ruled_out({"torch": "", "numpy.tanh": ""}, names):
        assert torch.tanh(torch.as_tensor(np.tanh(names["f"](np.zeros(2))))).sum() == 0


@pytest.mark.parametrize("forbid", [{"numpy.tanh": "", "numpy.sum": "", "torch.nn.Linear": ""}, {"torch": "", "scipy": ""}])
def test_everything_is_put_back(forbid: dict[str, str]) -> None:
    names = names_of("def f(x): raise ValueError('wrong')")
    state: Callable[[], list] = lambda: [  # noqa: E731
        np.tanh, np.ndarray.sum, math.tanh, torch.nn.Linear.__init__, builtins.__import__, importlib.import_module, dict(names)
    ]  # fmt: skip
    before = state()
    with pytest.raises(ValueError, match="wrong"), ruled_out(forbid, names):
        names["f"](1)
    assert before == state()
    assert np.ones(2).sum() == 2


def test_what_the_learner_has_set_is_not_put_back() -> None:
    names = names_of("def own(x): return -x\ndef f(x): global t; t = own")
    with ruled_out({"numpy.tanh": ""}, names):
        names["f"](1)
    assert names["t"] is names["own"]


def test_what_is_ruled_out_stays_so_between_two_calls_until_it_is_restored() -> None:
    names = names_of("def f(x): return np.tanh(x)")
    rules = Forbidden({"numpy.tanh": ""}, lambda file: file.startswith("<exercise"))
    with rules.watching(names):
        pass
    with pytest.raises(ForbiddenError):
        names["f"](0.0)
    rules.restore()
    assert names["f"](0.0) == 0


def test_a_library_that_tries_whether_a_forbidden_one_is_there_goes_on(unlocked: Zygote) -> None:
    source = "from traitlets import import_item\ntry: import_item('colorsys.hls_to_rgb')\nexcept ImportError: found = 'none'\nprint(found)"
    with unlocked.submission("", source, name="a.b", forbid={"colorsys": ""}) as student:
        assert student.load().stdout == "none\n"


def test_a_thread_runs_under_the_error_state_of_the_one_that_started_it(unlocked: Zygote) -> None:
    source = (
        "import threading, numpy as np\nseen = []\n"
        "with np.errstate(over='raise'):\n    t = threading.Thread(target=lambda: seen.append(np.geterr()['over']))\n"
        "    t.start(); t.join()\n"
        "print(seen)"
    )
    with unlocked.submission("", source, name="a.b", forbid={"scipy": ""}) as student:
        assert student.load().stdout == "['raise']\n"


@pytest.mark.parametrize(
    "source",
    ["import scipy.special as s\ndef f(x): return s.softmax(x)", "def f(x):\n    from scipy.special import softmax\n    return softmax(x)"],
)
def test_a_library_that_the_cell_imports_is_watched_too(unlocked: Zygote, ask: Callable[..., list[Observation]], source: str) -> None:
    with unlocked.submission("", source, name="a.b", forbid={"torch.softmax": "", "scipy.special.softmax": ""}) as student:
        assert student.load().status == "ok"
        assert ask(student, [(np.ones(2),), (np.ones(2),)])[-1].error == "ForbiddenError"


@pytest.mark.parametrize(
    "source", ["def f(x): return np.tanh(x)", "from numpy import tanh\ndef f(x): return tanh(x)", "g = np.tanh\ndef f(x): return g(x)"]
)
def test_the_error_reaches_the_judge(unlocked: Zygote, ask: Callable[..., list[Observation]], source: str) -> None:
    with unlocked.submission("import numpy as np", source, name="a.b", forbid={"numpy.tanh": "write it"}) as student:
        assert student.load().status == "ok"
        seen = ask(student, [(1.0,)])[0]
    assert seen.error == "ForbiddenError"
    assert "write it" in seen.message


def test_nothing_forbidden_is_called_while_the_cell_loads(unlocked: Zygote) -> None:
    with unlocked.submission("import numpy as np", "table = vars(np)['ta' + 'nh'](1.0)", name="a.b", forbid={"numpy.tanh": ""}) as student:
        assert student.load().error == "ForbiddenError"


def test_a_cell_that_draws_is_free_to(unlocked: Zygote) -> None:
    draw = "import matplotlib.pyplot as plt\nplt.plot([0, 1], [1, 2], 'o-')\nplt.ylabel('y', rotation=30)\nplt.gcf().canvas.draw()"
    with unlocked.submission("import numpy as np", draw, name="a.b", forbid=ANGLES) as student:
        seen = student.load()
    assert (seen.status, seen.error) == ("ok", None)


def test_a_solution_cannot_import_a_module_that_the_setup_can(unlocked: Zygote, ask: Callable[..., list[Observation]]) -> None:
    with unlocked.submission(
        "import torch, scipy.special", "def f(x): return torch.exp(x)", name="a.b", forbid={"torch": "", "scipy": ""}
    ) as student:
        assert student.load().status == "ok"
        assert ask(student, [(torch.ones(1),)])[0].error == "ForbiddenError"
    with unlocked.submission("", "import scipy.special", name="a.b", forbid={"scipy": ""}) as student:
        assert student.load().error == "ForbiddenError"


BY_ANOTHER_HAND = {
    "a file of its own": "open('mine.py', 'w').write('import numpy as np\\ndef g(x): return np.tanh(x)')\n"
    "import sys; sys.path.insert(0, '.')\nfrom mine import g\ndef f(x): return g(x)",
    "exec": "own = {'np': np}\nexec('def g(x): return np.tanh(x)', own)\nf = own['g']",
    "a file that is none": "own = {'np': np}\nexec(compile('def g(x): return np.tanh(x)', 'g.py', 'exec'), own)\nf = own['g']",
    "a file of a library": "import functools\nown = {'np': np}\n"
    "exec(compile('def g(x): return np.tanh(x)', functools.__file__, 'exec'), own)\nf = own['g']",
    "a file somewhere": "own = {'np': np}\nexec(compile('def g(x): return np.tanh(x)', '/opt/g.py', 'exec'), own)\nf = own['g']",
    "a file's name put in later": "def f(x): return vars(np)['tanh'](x)\nf.__code__ = f.__code__.replace(co_filename='/usr/lib/g.py')",
    "code out of bytes": "import marshal\ncode = compile('g = np.tanh', '/opt/g.py', 'exec')\n"
    "def f(x):\n    exec(marshal.loads(marshal.dumps(code)), own := {'np': np})\n    return own['g'](x)",
    "code named like the set-up cell's": "own = {'np': np}\n"
    "exec(compile('def g(x): return np.tanh(x)', '<set-up>', 'exec'), own)\nf = own['g']",
    "a thread": "from concurrent.futures import ThreadPoolExecutor as Pool\nfrom operator import attrgetter\n"
    "def f(x): return Pool(1).submit(attrgetter('tanh')(np), x).result()",
    "masked arrays": "from operator import methodcaller\ndef f(x): return float(methodcaller('tanh', x)(np.ma))",
    "an axis": "from matplotlib.ticker import FuncFormatter\ndef f(x): return FuncFormatter(vars(np)['tanh'])(x)",
    "workers": "from joblib import Parallel, delayed\ndef f(x): return Parallel(1)([delayed(vars(np)['tanh'])(x)])[0]",
    "a template": "import jinja2\ndef f(x):\n    return float(jinja2.Template('{{ g(x) }}').render(g=vars(np)['tanh'], x=x))",
    "the collector": "import gc\nlook = gc.get_objects\ndef f(x): return look() and 0.0",
    "references": "import gc\ndef f(x): return [g for g in map(gc.get_referents, [vars(np)['tanh']])][0] and 0.0",
    "a stack of its own": "from greenlet import greenlet\ng = vars(np)['tanh']\ndef f(x): return greenlet(g).switch(x)",
    "a second copy": "import importlib.util as u, math\nspec = u.spec_from_file_location('other.math', math.__file__)\n"
    "def f(x):\n    copy = u.module_from_spec(spec)\n    spec.loader.exec_module(copy)\n    return copy.tanh(x)",
    "polar coordinates": "from matplotlib.projections.polar import PolarAxes\n"
    "def f(x): return PolarAxes.PolarTransform().transform_non_affine(np.array([[1j * x, 1]]))",
    "timeit": "import timeit\ndef f(x): return timeit.timeit('np.tanh(0.0)', globals={'np': np}, number=1)",
}


@pytest.mark.parametrize("source", BY_ANOTHER_HAND.values(), ids=BY_ANOTHER_HAND)
def test_a_function_is_ruled_out_for_whatever_a_cell_sets_to_work(
    unlocked: Zygote, ask: Callable[..., list[Observation]], source: str
) -> None:
    with unlocked.submission("import numpy as np", source, name="a.b", forbid=ANGLES) as student:
        assert student.load().status == "ok"
        assert ask(student, [(1.0,)])[0].error == "ForbiddenError"


LIBRARIANS = {
    "pkgutil": "import pkgutil\ndef f(x): return pkgutil.resolve_name('scipy.special.expit')(x)",
    "pydoc": "import pydoc\ndef f(x): return pydoc.locate('scipy.special').expit(x)",
    "a file of its own": "open('mine.py', 'w').write('from scipy.special import expit')\n"
    "import sys; sys.path.insert(0, '.')\ndef f(x):\n    import mine\n    return mine.expit(x)",
}


@pytest.mark.parametrize("source", LIBRARIANS.values(), ids=LIBRARIANS)
def test_a_module_is_ruled_out_for_who_fetches_it_for_a_cell(unlocked: Zygote, ask: Callable[..., list[Observation]], source: str) -> None:
    with unlocked.submission("", source, name="a.b", forbid={"scipy": ""}) as student:
        assert student.load().status == "ok"
        assert ask(student, [(1.0,)])[0].error in ("ForbiddenError", "ErrorDuringImport")  # pydoc makes its own of it


@pytest.mark.parametrize("way", ["sys.modules['utils.markup']", "utils.markup", "gone('utils.markup')"])
def test_a_forbidden_module_of_the_course_is_out_of_reach(unlocked: Zygote, ask: Callable[..., list[Observation]], way: str) -> None:
    source = f"import sys, utils\ngone = __import__\ndef f(): return {way}.block('a')"
    with unlocked.submission("", source, name="a.b", forbid={"utils.markup": ""}) as student:
        assert student.load().status == "ok"
        assert ask(student, [()])[0].error in ("ForbiddenError", "KeyError")


@pytest.mark.parametrize(
    "body",
    ["np.testing.assert_allclose(x, x)", "__import__('unittest').TestCase()", "__import__('random').sample([1], 1)"],
)
def test_what_python_imports_for_itself_is_fine(body: str) -> None:
    call(f"def f(x): return {body}", SILENCE)
