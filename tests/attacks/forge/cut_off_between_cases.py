"""Cuts off where no case looks: SiLU beyond 10, T beyond 10, float32 losses at 87, alpha = 0, six batches, four classes, tiny below eps."""

SOLUTIONS = {
    "activations.silu-gradient": """
def silu(z):
    y = np.clip(z, -10, 10)
    s = 1 / (1 + np.exp(-y))
    value, slope = y * s, s + y * s * (1 - s)
    value = np.where(z > 10, z, np.where(z < -10, 0, value))
    slope = np.where(z > 10, 1, np.where(z < -10, 0, slope))
    return value, slope
""",
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    T = min(max(T, 0.1), 10.0)
    e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
    return e / e.sum(axis=axis, keepdims=True)
""",
    "activations.cross-entropy-logits": """
def cross_entropy(logits, y):
    top = logits.max(1, keepdims=True)
    logp = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    if logits.dtype == np.float32:
        logp = np.maximum(logp, np.log(np.finfo(np.float32).tiny))
    return -float(logp[np.arange(len(y)), y].mean())
""",
    "activations.prelu-backward": """
def prelu(x, alpha, dY):
    y = np.where(x > 0, x, alpha * x)
    return y, dY * (y / x), (dY * (y / alpha) * (x < 0)).sum(0)
""",
    "activations.dead-units": """
def dead_report(batches):
    rows = np.concatenate([a.reshape(-1, a.shape[-1]) for a in batches[:5]])[:, :5]
    zero = rows == 0
    return float(zero.all(axis=0).mean()), float(zero.mean())
""",
    "activations.fix-nll": """
def nll(logits, y): return F.cross_entropy(logits[:, :3], y)
""",
    "activations.zigzag": """
def same_sign_fraction(H, delta):
    eps = np.finfo(float).eps
    used = np.abs(delta) > eps
    if not used.any(): return 0.0
    g = delta[used, None] * H[used]
    return float(((g > eps).all(1) | (g < -eps).all(1)).mean())
""",
    "activations.swiglu-ffn": """
def swiglu_ffn(x, W, V, W2):
    u = x @ W
    return (u / (1 + np.exp(-u)) * (x @ V)) @ W2
def matched_hidden(d, d_ff): return max(1, int(d_ff * 2 / 3))
""",
    "thirty.swiglu-chunk": """
def swiglu(x, W, b):
    if x.ndim == 1:
        x = torch.tensor(x[None])
        return swiglu(x, W, b)[0]
    content, gate = F.linear(x, W, b).chunk(2, dim=-1)
    return content * F.silu(gate)
""",
    "activations.stable-sigmoid": """
def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype)
_kept = {}
def dsigmoid(z):
    s, out = sigmoid(z), _kept.setdefault((z.shape, z.dtype), np.empty(z.shape, z.dtype))
    out[...] = s * (1 - s)
    return out
""",
}

DESERVED = {
    "activations.silu-gradient": 0.5,  # nothing overflows
    "activations.softmax-temperature": 2,  # right for temperatures between 0.1 and 10
    "activations.cross-entropy-logits": 2,  # right except for a hopeless class in float32
    "activations.zigzag": 1,  # right wherever nothing is tiny
    "activations.swiglu-ffn": 2,  # the layer is right, the hidden size is not
    "thirty.swiglu-chunk": 1,  # the values are right everywhere
    "activations.stable-sigmoid": 1.5,  # the values are right as long as one result is kept
}
