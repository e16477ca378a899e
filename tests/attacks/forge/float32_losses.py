"""Computes a float64 loss in float32; softmax with one maximum for three axes."""

SOLUTIONS = {
    "activations.cross-entropy-logits": """
def cross_entropy(logits, y):
    logits = logits.astype(np.float32)
    top = logits.max(1, keepdims=True)
    losses = np.log(np.exp(logits - top).sum(1)) + (top[:, 0] - logits[np.arange(len(y)), y])
    return float(losses.mean())
""",
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    m = z.max(axis=axis, keepdims=True) if z.ndim < 3 else z.max()
    e = np.exp((z - m) / T)
    return e / e.sum(axis=axis, keepdims=True)
""",
}

DESERVED = {
    "activations.cross-entropy-logits": 2,  # finite and right to seven digits
    "activations.softmax-temperature": 2,  # wrong only where slices of three axes lie far apart
}
