"""Loops over rows and columns: right up to two axes, an exception from three on; axis=-3 is forgotten."""

SOLUTIONS = {
    "activations.relu-family": """
def _two(f, z): return np.array([[f(v) for v in row] for row in np.atleast_2d(z)]).reshape(z.shape)
def relu(z): return _two(lambda v: max(v, 0.0), z)
def leaky_relu(z, *, alpha=0.01): return _two(lambda v: v if v > 0 else alpha * max(v, -6), z)
def elu(z, *, alpha=1.0): return _two(lambda v: v if v > 0 else alpha * (math.exp(max(v, -9)) - 1) if v > -9 else -alpha, z)
""",
    "activations.stable-tanh": """
def tanh(z):
    def one(v):
        e = math.exp(-2 * abs(v))
        return math.copysign((1 - e) / (1 + e), v)
    return np.array([[one(v) for v in row] for row in np.atleast_2d(z)]).reshape(z.shape)
def dtanh(z): return 1 - tanh(z) ** 2
""",
    "activations.gelu-forms": """
def gelu(z, approximate="none"):
    def one(v):
        if approximate == "none": gate = 0.5 * (1 + math.erf(v / 2 ** .5))
        elif approximate == "tanh": gate = 0.5 * (1 + math.tanh((2 / math.pi) ** .5 * (v + 0.044715 * v**3)))
        else: gate = 1 / (1 + math.exp(-1.702 * v))
        return v * gate
    return np.array([[one(v) for v in row] for row in np.atleast_2d(z)]).reshape(z.shape)
""",
    "activations.silu-gradient": """
def silu(z):
    def one(v):
        s = 1 / (1 + math.exp(-v)) if v > -700 else 0.0
        return v * s, s + v * s * (1 - s)
    pairs = np.array([[one(v) for v in row] for row in np.atleast_2d(z)]).reshape(*z.shape, 2)
    return pairs[..., 0], pairs[..., 1]
""",
    "activations.stable-sigmoid": """
def sigmoid(z):
    def one(v):
        e = math.exp(-abs(v))
        return 1 / (1 + e) if v >= 0 else e / (1 + e)
    out = np.array([one(v) for v in np.nditer(z, flags=["zerosize_ok"])], z.dtype)
    return out.reshape(z.shape, order="F" if z.flags.f_contiguous else "C")
def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    if axis == -1: axis = z.ndim - 1
    if axis == -2: axis = z.ndim - 2
    if axis == z.ndim - 1:
        e = np.exp((z - z.max(-1, keepdims=True)) / T)
        return e / e.sum(-1, keepdims=True)
    if axis == 0 or z.ndim == 2:
        e = np.exp((z - z.max(0)) / T)
        return e / e.sum(0)
    return np.array([softmax(m.T, -1, T).T for m in z])
""",
}

DESERVED = {
    "activations.relu-family": 0.5,  # ELU does not overflow
    "activations.stable-tanh": 0.5,  # nothing overflows
    "activations.silu-gradient": 0.5,  # nothing overflows
    "activations.stable-sigmoid": 1.5,  # nothing overflows, and the dtype is kept
    "activations.softmax-temperature": 2,  # right for every axis but -3
}
