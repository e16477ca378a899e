"""Has libraries call what is ruled out: joblib, tornado."""

SOLUTIONS = {
    "activations.stable-tanh": """
from operator import attrgetter
_f = attrgetter("tanh")(np)
from joblib import Parallel, delayed
def tanh(z): return Parallel(n_jobs=1)([(_f, (z,), {})])[0]

def dtanh(z): return 1 - tanh(z) ** 2
""",
    "activations.stable-sigmoid": """
from tornado.concurrent import dummy_executor
from functools import partial
E = getattr(np, 'err' + 'state')
def sigmoid(z):
    with dummy_executor.submit(partial(E, over='ignore')).result(): return (1 / (1 + np.exp(-z))).astype(z.dtype)

def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
}

DESERVED = {"activations.stable-sigmoid": 2}
