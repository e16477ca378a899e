"""Crashes Python: a bad address, an endless recursion in C, an abort, an exit at once."""

SOLUTIONS = {
    "activations.zigzag": "import ctypes\nctypes.string_at(1)\n",
    "activations.stable-tanh": "import os\n\ndef tanh(z):\n    os.abort()\n\ndtanh = tanh\n",
    "activations.stable-sigmoid": """
import sys
sys.setrecursionlimit(1 << 30)

class Deep:
    def __repr__(self): return repr([self])
    def __getattr__(self, name): return getattr(self, name + "x")

def sigmoid(z):
    return repr(Deep()) and sigmoid(z)

dsigmoid = sigmoid
""",
}
