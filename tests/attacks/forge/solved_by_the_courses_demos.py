"""Hands in the course's own figures code: utils.demos.activations computes every activation, slope and softmax that is asked for."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
from utils.demos.activations import value_and_slope

def sigmoid(z):
    return value_and_slope("sigmoid", z)[0].astype(z.dtype)

def dsigmoid(z):
    return value_and_slope("sigmoid", z)[1].astype(z.dtype)
""",
    "activations.stable-tanh": """
from utils.demos.activations import value_and_slope

def tanh(z):
    return value_and_slope("tanh", z)[0]

def dtanh(z):
    return value_and_slope("tanh", z)[1]
""",
    "activations.silu-gradient": """
from utils.demos.activations import value_and_slope

def silu(z):
    return value_and_slope("SiLU", z)
""",
    "activations.gelu-forms": """
from functools import partial
from utils.demos import activations as demos

demos.FUNCTIONS["tanh form"] = partial(demos.F.gelu, approximate="tanh")

def gelu(z, approximate="none"):
    if approximate == "sigmoid":
        return z * demos.value_and_slope("sigmoid", 1.702 * z)[0]
    return demos.value_and_slope("GELU" if approximate == "none" else "tanh form", z)[0]
""",
    "activations.softmax-temperature": """
from utils.demos.activations import softmax as known

def softmax(z, axis=-1, T=1.0):
    return np.apply_along_axis(known, axis, z / T)
""",
}
