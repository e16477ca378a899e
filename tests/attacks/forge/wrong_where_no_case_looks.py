"""Honest mistakes within what the tasks promise, where the hidden cases do not look."""

SOLUTIONS = {
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    if axis not in (-1, z.ndim - 1):
        return np.moveaxis(softmax(np.moveaxis(z, axis, -1)), -1, axis)  # T is forgotten
    e = np.exp((z - z.max(axis=-1, keepdims=True)) / T)
    return e / e.sum(axis=-1, keepdims=True)
""",
    "activations.relu-family": """
def relu(z):
    return np.clip(z, 0, 6)

def leaky_relu(z, alpha=0.01):
    return np.array([np.where(row > 0, row, alpha * row) for row in np.clip(z, -6, 6)])

def elu(z, alpha=1.0):
    return np.array([np.where(row > 0, row, alpha * np.expm1(np.minimum(row, 0))) for row in z])
""",
    "activations.swiglu-ffn": """
def swiglu_ffn(x, W, V, W2):
    u = np.clip(x @ W, -12, 12)
    return (u / (1 + np.exp(-u)) * (x @ V)) @ W2

def matched_hidden(d, d_ff):
    return 2 * d_ff // 3
""",
    "activations.stable-sigmoid": """
def sigmoid(z):
    out = np.empty_like(z)
    flat = out.reshape(-1)  # a copy where z is not C-contiguous
    for i, v in enumerate(z.ravel()):
        e = math.exp(-abs(v))
        flat[i] = 1 / (1 + e) if v >= 0 else e / (1 + e)
    return out

def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
    "activations.dead-units": """
def dead_report(batches):
    rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in batches[:3]])
    zero = rows == 0
    return float((zero.mean(axis=0) > 0.999).mean()), float(zero.mean())
""",
    "activations.cross-entropy-logits": """
def cross_entropy(logits, y):
    logits, y = logits[:5], y[:5]
    assert logits.dtype == np.float64 and y.dtype == np.int64
    m = logits.max(1, keepdims=True)
    return float((np.log(np.exp(logits - m).sum(1)) - (logits - m)[np.arange(len(y)), y]).mean())
""",
    "activations.zigzag": """
def same_sign_fraction(H, delta):
    H, delta = H[:40, :8], delta[:40]
    used = delta != 0
    if not used.any():
        return 0.0
    g = delta[used, None] * H[used]
    return float(((g > 0).all(1) | (g < 0).all(1)).mean())
""",
    "activations.prelu-backward": """
def prelu(x, alpha, dY):
    x, dY = x[:5], dY[:5]
    negative = x <= 0
    return np.where(negative, alpha * x, x), dY * np.where(negative, alpha, 1), (dY * x * negative).sum(0)
""",
    "thirty.swiglu-chunk": """
def swiglu(x, W, b):
    content, gate = torch.einsum("...d,fd->...f", x, W.double()).add(b).chunk(2, dim=-1)  # float32, torch's default, crashes
    return content * F.silu(gate)
""",
}

DESERVED = {
    "activations.softmax-temperature": 2,  # right wherever T is 1 or the axis is the last
    "activations.swiglu-ffn": 1,  # the hidden size
}
