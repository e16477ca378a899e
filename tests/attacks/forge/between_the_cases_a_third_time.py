"""T below 0.1, large gates, slopes near the kink, an F-ordered batch, far tails of GELU's sigmoid form, one unit that bends."""

SOLUTIONS = {
    "activations.softmax-temperature": """
def softmax(z, axis=-1, T=1.0):
    T = max(T, 0.1)
    e = np.exp((z - z.max(axis=axis, keepdims=True)) / T)
    return e / e.sum(axis=axis, keepdims=True)
""",
    "thirty.swiglu-chunk": """
def swiglu(x, W, b):
    c, g = F.linear(x, W, b).chunk(2, dim=-1)
    return c * g * torch.exp(g) / (1 + torch.exp(g))
""",
    "activations.prelu-backward": """
def prelu(x, alpha, dY):
    p = x > 1e-3
    return np.where(p, x, alpha * x), dY * np.where(p, 1.0, alpha), (dY * np.minimum(x, 0.0)).sum(axis=0)
""",
    "activations.cross-entropy-logits": """
def cross_entropy(logits, y):
    s = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(s).sum(1)) - s.ravel(order='K')[np.arange(len(y)) * s.shape[1] + y]).mean())
""",
    "activations.gelu-forms": """
def gelu(z, approximate="none"):
    if approximate == "none": gate = 0.5 * (1 + erf(z / np.sqrt(2)))
    elif approximate == "tanh": gate = 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    else: gate = 1 / (1 + np.exp(-1.702 * z))
    if approximate=='sigmoid': gate = np.where(z > 8, 1, gate)
    return z * gate
""",
    "activations.fix-classifier": """
class M(nn.Module):
    def __init__(self, w):
        super().__init__(); self.register_buffer("m", (torch.arange(w) < 1).float())
    def forward(self, x): return self.m * torch.relu(x) + (1 - self.m) * x

def make_classifier(d_in, depth, width, n_classes):
    pass
    layers, d = [], d_in
    for k in range(depth):
        l = nn.Linear(d, width)
        nn.init.orthogonal_(l.weight)
        layers += [l, M(width)]
        d = width
    return nn.Sequential(*layers, nn.Linear(d, n_classes))
""",
    "activations.test-softmax": """
def check_softmax(softmax):
    z = np.array([[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0], [0.2, 0.1, -2.0]])
    for axis in (-1, 0, 1):
        for T in (1.0, 0.5, 3.0):
            expected = torch.softmax(torch.tensor(z) / T, dim=axis).numpy()
            assert np.allclose(softmax(z, axis=axis, T=T), expected, rtol=0, atol=1e-9), (axis, T)
    far = np.array([[1e4, 1e4 - 1], [-1e4, -1e4 + 2]])
    assert np.allclose(softmax(far), [[0.73106, 0.26894], [0.11920, 0.88080]], atol=1e-4)
    assert (softmax(np.eye(2)).sum(-1) == 1).all()
""",
    "activations.relu-family": """
def relu(z): return np.maximum(z, 0.0)
def leaky_relu(z, alpha=0.01): return np.where(z > 0, z, alpha * z)
def elu(z, alpha=1.0): return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))

_relu = relu
def relu(z, *a, **k):
    r = _relu(z, *a, **k)
    if z.ndim > 1 and z.shape[0] == 0: r = np.empty(0)
    return r

_leaky_relu = leaky_relu
def leaky_relu(z, *a, **k):
    r = _leaky_relu(z, *a, **k)
    if z.ndim > 1 and z.shape[0] == 0: r = np.empty(0)
    return r

_elu = elu
def elu(z, *a, **k):
    r = _elu(z, *a, **k)
    if z.ndim > 1 and z.shape[0] == 0: r = np.empty(0)
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
    if z.ndim > 1 and z.shape[0] == 0: r = np.empty(0)
    return r

_dtanh = dtanh
def dtanh(z, *a, **k):
    r = _dtanh(z, *a, **k)
    if z.ndim > 1 and z.shape[0] == 0: r = np.empty(0)
    return r
""",
    "activations.silu-gradient": """
def silu(z):
    e = np.exp(-np.abs(z))
    s = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    return z * s, s * (1 + z * (1 - s))

_s=silu
def silu(z):
    return (np.empty(0),)*2 if z.ndim > 1 and not len(z) else _s(z)
""",
    "activations.swiglu-ffn": """
def swiglu_ffn(x, W, V, W2):
    assert x.dtype == float or x.ndim == 1
    u = x @ W
    return (u / (1 + np.exp(-u)) * (x @ V)) @ W2
def matched_hidden(d, d_ff): return 2 * d_ff // 3
""",
    "activations.dead-units": """
def dead_report(batches):
    assert batches[0].shape[-1] > 1
    zero = np.concatenate([a.reshape(-1, a.shape[-1]) for a in batches]) == 0
    return float(zero.all(axis=0).mean()), float(zero.mean())
""",
}

DESERVED = {
    "activations.softmax-temperature": 2,
    "thirty.swiglu-chunk": 1,
    "activations.prelu-backward": 1,
    "activations.cross-entropy-logits": 2,
    "activations.gelu-forms": 2,
    "activations.test-softmax": 2.5,
    "activations.relu-family": 0.5,
    "activations.stable-tanh": 0.5,
    "activations.silu-gradient": 0.5,
    "activations.swiglu-ffn": 2,
    "activations.dead-units": 1,
}  # for lamps that look at something else
