"""The C library's tanh, through ctypes."""

SOLUTIONS = {
    "activations.stable-tanh": """
import ctypes
known = ctypes.CDLL(None)["tanh"]
known.restype, known.argtypes = ctypes.c_double, [ctypes.c_double]
def tanh(z): return np.vectorize(known, otypes=[float])(z)
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
