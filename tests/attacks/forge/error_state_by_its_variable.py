"""Sets the context variable that NumPy's error state is."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
from numpy._core import umath
def sigmoid(z):
    umath._extobj_contextvar.set(umath._make_extobj(all="ignore"))
    return (1 / (1 + np.exp(-z))).astype(z.dtype)

def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
}

DESERVED = {"activations.stable-sigmoid": 2}
