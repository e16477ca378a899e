"""Calls np.tanh through functools.singledispatch: the look for learner's code ends at the first frame of a library."""

SOLUTIONS = {
    "activations.stable-tanh": """
from functools import singledispatch

known = singledispatch(vars(np)["tanh"])

def tanh(z):
    return known(z)

def dtanh(z):
    return 1 - tanh(z) ** 2
""",
}
