"""Changes the class of what notes an overflow."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
def sigmoid(z):
    type(np.geterrcall()).__call__ = lambda self, *a: None
    return (1 / (1 + np.exp(-z))).astype(z.dtype)

def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
}

DESERVED = {"activations.stable-sigmoid": 2}
