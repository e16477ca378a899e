"""The textbook formulas overflow as ever; np.errstate hides that they do."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
def sigmoid(z):
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-z))).astype(z.dtype)

def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
    "activations.stable-tanh": """
def tanh(z):
    with np.errstate(over="ignore"):
        return 2 / (1 + np.exp(-2 * z)) - 1

def dtanh(z):
    return 1 - tanh(z) ** 2
""",
}
