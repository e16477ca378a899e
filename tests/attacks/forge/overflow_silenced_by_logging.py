"""Overflow is sent to the log, by logging.captureWarnings."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
import logging
def sigmoid(z):
    logging.captureWarnings(False); logging.captureWarnings(True)
    return (1 / (1 + np.exp(-z))).astype(z.dtype)
def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
    "activations.relu-family": """
import logging
def relu(z): return np.maximum(z, 0)
def leaky_relu(z, alpha=0.01): return np.where(z > 0, z, alpha * z)
def elu(z, alpha=1.0):
    logging.captureWarnings(False); logging.captureWarnings(True)
    return np.where(z > 0, z, alpha * (np.exp(z) - 1))
""",
    "activations.silu-gradient": """
def silu(z):
    with np.testing.suppress_warnings() as quiet:
        quiet.filter()
        s = 1 / (1 + np.exp(-z))
    return z * s, s * (1 + z * (1 - s))
""",
    "activations.stable-tanh": """
def tanh(z):
    with np.testing.suppress_warnings() as quiet:
        quiet.filter()
        return 2 / (1 + np.exp(-2 * z)) - 1
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
#: Where nothing overflows they are right.
DESERVED = {
    "activations.stable-sigmoid": 2,
    "activations.relu-family": 1.5,
    "activations.silu-gradient": 1,
    "activations.stable-tanh": 1,
}
