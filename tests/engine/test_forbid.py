import time

import pytest

from autograder.forbid import find_forbidden

TORCH = {"torch": ""}
TANH = {"numpy.tanh": "tanh is the task"}
SOFTMAX = {"torch.softmax": ""}
INIT = {"torch.nn.init": ""}
DEMOS = {"utils.demos": ""}


@pytest.mark.parametrize(
    ("source", "forbid"),
    [
        ("import torch", TORCH),
        ("import torch.nn as x", TORCH),
        ("from torch.nn import functional", TORCH),
        ("def f(z): return torch.sigmoid(z)", TORCH),
        ("f = F.relu", TORCH),
        ("__import__('torch')", TORCH),
        ("def f(z): return np.tanh(z)", TANH),
        ("import numpy\nnumpy.tanh", TANH),
        ("import numpy as banana\nbanana.tanh(1)", TANH),
        ("from numpy import tanh as t", TANH),
        ("from numpy import *\ndef f(z): return tanh(z)", TANH),
        ("vars(np)['tanh'](1)", TANH),
        ("np.__dict__['tanh'](1)", TANH),
        ("%matplotlib inline\nnp.tanh(1)", TANH),
        ("%%time\nnp.tanh(1)", TANH),
        ("from torch.nn.init import ones_", INIT),
        ("nn.init.ones_(w)", INIT),
        ("from utils.demos.activations import softmax", DEMOS),
        ("from utils.demos import activations", DEMOS),
        ("from utils import demos", DEMOS),
        ("import math\nmath.tanh(1)", TANH),
        ("getattr(np, 'tanh')(1)", TANH),
        ("def f(z): return z.softmax(-1)", SOFTMAX),
        ("def f(z): return (z + 1).softmax(-1)", SOFTMAX),
        ("def f(z): return F.softmax(z, -1)", SOFTMAX),
    ],
)
def test_a_forbidden_name_is_found_under_every_spelling(source, forbid):
    assert "rules out" in find_forbidden(source, forbid)


@pytest.mark.parametrize(
    ("source", "forbid"),
    [
        ("def tanh(z):\n    return 2 * sigmoid(2 * z) - 1\ntanh(1)", TANH),
        ("class A:\n    def f(self): return self.softmax(1)", SOFTMAX),
        ("# torch would be easier\nx = 'torch'", TORCH),
        ("torchlight = 1", TORCH),
        ("np.exp(1)", TANH),
        ("from numpy import *\ndef tanh(z): return 1 - 2 / (exp(2 * z) + 1)", TANH),
        ("class A:\n    @staticmethod\n    def tanh(z): return z\nA.tanh(1)", TANH),
        ("SimpleNamespace(softmax=g).softmax(1)", SOFTMAX),
        ("F = lambda z: z\nF(1)", TORCH),
        ("for nn in range(3): print(nn)", TORCH),
        ("def f(F): return F + 1", TORCH),
        ("getattr(z, 'dtype')", TORCH),
        ("from utils import reveal", DEMOS),
        ("def f(: syntax error", TORCH),
    ],
)
def test_what_only_looks_like_it_is_allowed(source, forbid):
    assert find_forbidden(source, forbid) is None


def test_a_name_of_many_dots_takes_no_time():
    began = time.process_time()
    assert find_forbidden("def f(x):\n" + ("    x" + ".a" * 900 + "\n") * 100, TANH) is None
    assert time.process_time() - began < 3


def test_the_sentence_says_where_and_why():
    text = find_forbidden("x = 1\ny = np.tanh(x)", TANH)
    assert text == "Line 2 uses np.tanh, which this task rules out: tanh is the task. Build it yourself."
