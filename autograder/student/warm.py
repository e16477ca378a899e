"""Import what submissions use, and touch the parts that load lazily, so that a fork finds them ready."""

import importlib
import io
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

#: Imported where they are installed. Not SciPy and scikit-learn: mapping their 140 libraries doubles the cost of every fork, and few
#: exercises need them.
MODULES = (
    "IPython.display", "IPython.core.display_functions", "IPython.core.inputtransformer2", "asyncio", "collections", "dataclasses",
    "functools", "heapq", "itertools", "json", "math", "pickle", "pprint",
    "re", "string", "tempfile", "textwrap", "timeit", "typing", "unittest.mock", "cloudpickle", "copy", "abc", "enum", "contextlib",
    "csv", "bisect", "statistics", "numpy.fft", "numpy.linalg", "numpy.polynomial", "numpy.random", "numpy.testing",
    "numpy.lib.stride_tricks", "matplotlib.pyplot", "matplotlib.animation", "torch.nn.functional", "torch.optim.lr_scheduler",
    "torch.optim.swa_utils", "torch.testing", "torch.utils.data", "torch.utils.checkpoint", "torch.autograd.gradcheck",
    "torch.autograd.functional", "torch.func", "torch.nn.utils.parametrize", "torch.nn.utils.rnn", "torch.distributions",
    "torch.nn.attention", "torch.fft", "torch.special", "torch.linalg", "torch.overrides", "torch.utils._python_dispatch",
)  # fmt: skip


#: What torch imports when an optimizer, the meta device, `gradcheck` and the like are first used: 300 modules and SymPy, which take a
#: second and make every fork dearer.
ON_FIRST_USE = "torch._dynamo"
_USES = re.compile(r"\b(optim|checkpoint|assert_close|gradcheck|torch\.func)\b|['\"]meta['\"]")


def libraries_for(folders: Iterable[Path]) -> list[str]:
    """What to import besides `MODULES` for submissions to chapters, as far as the code in their folders tells.

    Nothing depends on it but time: who uses what is not there imports it in his own process.
    """
    code = (file.read_text(encoding="utf-8", errors="replace") for folder in folders for file in sorted(folder.glob("*.py")))
    return [ON_FIRST_USE] if any(map(_USES.search, code)) else []


def warm(imports: Sequence[str] = ()) -> list[str]:
    """Import and touch libraries, `imports` besides; gives back what could not be."""
    import matplotlib
    import torch

    matplotlib.use("Agg")
    torch.set_num_threads(1)
    missing = [name for name in (*MODULES, *imports) if not _imports(name)]
    return missing + _touched(_layers, _checks, _figures, *([_optimizers, _elsewhere] if ON_FIRST_USE in imports else []))


def warm_own() -> list[str]:
    """The same for the course's own code. To be called after `warm`, so that what each fork touches lies together."""
    return _utils() + _touched(_training, _cells)


def _touched(*parts: Callable[[], None]) -> list[str]:
    missing = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in parts:
            try:
                part()
            except Exception as error:  # an old torch may lack a part; a submission that needs it will say so
                missing.append(f"{part.__name__}: {error}")
    return missing


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception:
        return False
    return True


def _utils() -> list[str]:
    if not _imports("utils"):
        return ["utils"]
    import utils

    found = pkgutil.walk_packages(getattr(utils, "__path__", []), "utils.")
    return [m.name for m in found if not m.name.endswith("__main__") and not _imports(m.name)]


def _layers() -> None:
    import torch
    import torch.nn.functional as F

    for dtype in (torch.float32, torch.float64):
        x = torch.randn(2, 4, 8, 8, dtype=dtype, requires_grad=True)
        y = F.conv2d(x, torch.randn(4, 4, 3, 3, dtype=dtype)).relu().sum() + F.max_pool2d(x, 2).mean() + F.interpolate(x, 4).sum()
        q = torch.randn(1, 2, 5, 4, dtype=dtype, requires_grad=True)
        y = y + F.scaled_dot_product_attention(q, q, q, is_causal=True).sum() + F.layer_norm(q, (4,)).sum() + F.gelu(q).sum()
        y = y + F.cross_entropy(q[0, 0], torch.tensor([0, 1, 2, 3, 0])) + torch.linalg.norm(q) + torch.einsum("abcd,abed->", q, q)
        y.backward()
        torch.linalg.svd(torch.eye(3, dtype=dtype))
    torch.nn.LSTM(3, 4)(torch.zeros(2, 1, 3))
    torch.nn.MultiheadAttention(4, 2)(*[torch.zeros(2, 1, 4)] * 3)
    torch.nn.TransformerEncoderLayer(4, 2, 8)(torch.zeros(2, 1, 4))


def _training() -> None:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from autograder.student.network import describe

    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    data = DataLoader(TensorDataset(torch.zeros(8, 3), torch.zeros(8, 1)), 4, shuffle=True)
    for x, y in data:
        nn.functional.mse_loss(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    model.load_state_dict(model.state_dict())
    describe(model, torch.zeros(2, 3))


def _optimizers() -> None:
    import torch

    model = torch.nn.Linear(3, 1)
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad):
        optimizer = kind(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
        model(torch.zeros(2, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def _elsewhere() -> None:
    import torch

    torch.testing.assert_close(torch.zeros(2), torch.zeros(2))
    torch.autograd.gradcheck(torch.tanh, (torch.ones(2, dtype=torch.float64, requires_grad=True),))
    torch.zeros(2, device="meta").mean(0)
    torch.func.vmap(torch.func.grad(torch.sin))(torch.zeros(2))


def _checks() -> None:
    import torch

    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    torch.autograd.grad(torch.autograd.grad((x**3).sum(), x, create_graph=True)[0].sum(), x)
    repr(x), str(torch.nn.Linear(1, 1)), torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(rng.normal(size=3), rng.normal(size=3), atol=100)
    np.linalg.solve(np.eye(3), np.ones(3)), np.fft.fft(np.ones(4)), np.einsum("ij,jk", np.eye(2), np.eye(2)), repr(np.ones((2, 2)))


def _figures() -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2)
    axes[0].plot([0, 1], [0, 1], label="a")
    axes[0].set(xlabel="$x^2$", title="t")
    axes[0].legend()
    axes[1].imshow(np.zeros((2, 2)))
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    plt.close("all")


def _cells() -> None:
    from autograder.student.cells import Cells

    cells = Cells()
    cells.run("%matplotlib inline\nimport math\ndef f(x):\n    return x\nf(1)", "<warm>")
    cells.run("f(", "<warm>")
