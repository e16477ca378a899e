"""Right up to three axes."""

SOLUTIONS = {
    "activations.relu-family": """
def relu(z): return np.maximum(z, 0.0)
def leaky_relu(z, alpha=0.01): return np.where(z > 0, z, alpha * z)
def elu(z, alpha=1.0): return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))

_relu = relu
def relu(z, *a, **k):
    r = _relu(z, *a, **k)
    assert np.ndim(z) < 4
    return r

_leaky_relu = leaky_relu
def leaky_relu(z, *a, **k):
    r = _leaky_relu(z, *a, **k)
    assert np.ndim(z) < 4
    return r

_elu = elu
def elu(z, *a, **k):
    r = _elu(z, *a, **k)
    assert np.ndim(z) < 4
    return r
""",
    "activations.stable-sigmoid": """
def sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e)).astype(z.dtype)
def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)

_sigmoid = sigmoid
def sigmoid(z, *a, **k):
    r = _sigmoid(z, *a, **k)
    assert np.ndim(z) < 4
    return r

_dsigmoid = dsigmoid
def dsigmoid(z, *a, **k):
    r = _dsigmoid(z, *a, **k)
    assert np.ndim(z) < 4
    return r
""",
    "activations.stable-tanh": """
def tanh(z):
    e = np.exp(-2 * np.abs(z))
    return np.sign(z) * (1 - e) / (1 + e)
def dtanh(z): return 1 - tanh(z) ** 2

_tanh = tanh
def tanh(z, *a, **k):
    r = _tanh(z, *a, **k)
    assert np.ndim(z) < 4
    return r

_dtanh = dtanh
def dtanh(z, *a, **k):
    r = _dtanh(z, *a, **k)
    assert np.ndim(z) < 4
    return r
""",
    "activations.gelu-forms": """
def gelu(z, approximate="none"):
    if approximate == "none": gate = 0.5 * (1 + erf(z / np.sqrt(2)))
    elif approximate == "tanh": gate = 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    else: gate = 1 / (1 + np.exp(-1.702 * z))
    return z * gate

_gelu = gelu
def gelu(z, *a, **k):
    r = _gelu(z, *a, **k)
    assert np.ndim(z) < 4
    return r
""",
    "activations.silu-gradient": """
def silu(z):
    e = np.exp(-np.abs(z))
    s = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    return z * s, s * (1 + z * (1 - s))

_s=silu
def silu(z):
    assert z.ndim < 4
    return _s(z)
""",
    "activations.swiglu-ffn": """
def swiglu_ffn(x, W, V, W2):
    assert x.ndim < 5
    u = x @ W
    return (u / (1 + np.exp(-u)) * (x @ V)) @ W2
def matched_hidden(d, d_ff): return 2 * d_ff // 3
""",
    "thirty.swiglu-chunk": """
def swiglu(x, W, b):
    assert x.ndim < 5
    c, g = F.linear(x, W, b).chunk(2, dim=-1)
    return c * F.silu(g)
""",
    "activations.dead-units": """
def dead_report(batches):
    fired = sum((b > 0).reshape(-1, b.shape[-1]).sum(0, dtype=np.uint8) for b in batches)
    return float((fired == 0).mean()), sum(float((b == 0).sum()) for b in batches) / sum(b.size for b in batches)
""",
    "activations.prelu-backward": """
def prelu(x, alpha, dY):
    x, alpha, dY = x[:, :4], alpha[:4], dY[:, :4]
    p = x > 0
    return np.where(p, x, alpha * x), dY * np.where(p, 1.0, alpha), (dY * np.minimum(x, 0.0)).sum(axis=0)
""",
    "activations.zigzag": """
def same_sign_fraction(H, delta):
    H = H[:, :16]
    used = delta != 0
    if not used.any(): return 0.0
    g = delta[used, None] * H[used]
    return float(((g > 0).all(1) | (g < 0).all(1)).mean())
""",
    "activations.fix-nll": """
def nll(logits, y): return F.cross_entropy(logits[:, :5], y)
""",
    "activations.cross-entropy-logits": """
def cross_entropy(logits, y):
    logits = logits[:, :10]
    s = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(y)), y]).mean())
""",
    "activations.fix-classifier": """
def make_classifier(d_in, depth, width, n_classes):
    pass
    layers, d = [], d_in
    for k in range(depth):
        l = nn.Linear(d, width)
        nn.init.kaiming_normal_(l.weight, nonlinearity="relu"); nn.init.zeros_(l.bias)
        layers += [l, nn.ReLU()]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes), *([nn.Softmax(1)] if n_classes > 30 else []))
""",
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    if z.shape[axis] == 1 and z.ndim > 1: return np.zeros(z.shape)
    e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
    return e / e.sum(axis=axis, keepdims=True)
""",
}

DESERVED = {
    "activations.relu-family": 0.5,
    "activations.stable-sigmoid": 1.5,
    "activations.stable-tanh": 0.5,
    "activations.silu-gradient": 0.5,
    "activations.swiglu-ffn": 2,
    "thirty.swiglu-chunk": 1,
    "activations.dead-units": 1,
    "activations.zigzag": 1,
    "activations.cross-entropy-logits": 1,
    "activations.fix-classifier": 3,
    "activations.softmax-temperature": 2,
}  # for lamps that look at something else
