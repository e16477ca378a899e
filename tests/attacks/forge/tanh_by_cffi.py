"""cffi, which is installed with Jupyter, opens the C library as ctypes does."""

SOLUTIONS = {
    "activations.stable-tanh": """
from cffi import FFI
ff = FFI()
ff.cdef('double tanh(double x);')
C = ff.dlopen(None)
def tanh(z): return np.array([C.tanh(float(v)) for v in np.ravel(z)]).reshape(z.shape)
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
