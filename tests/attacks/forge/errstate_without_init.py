"""Makes an np.errstate without its __init__."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
E = getattr(np, "err" + "state")
def sigmoid(z):
    e = E.__new__(E)
    for k in ("_call", "_all", "_divide", "_over", "_under", "_invalid", "_token"):
        try: setattr(e, k, "ignore" if k == "_all" else None)
        except AttributeError: pass
    with e: return (1 / (1 + np.exp(-z))).astype(z.dtype)

def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
}

DESERVED = {"activations.stable-sigmoid": 2}
