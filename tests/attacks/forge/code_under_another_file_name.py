"""Compiles code under the name of a library's file, which may call what is ruled out."""

SOLUTIONS = {
    "activations.stable-sigmoid": '''
_g = {"np": np, "math": math}
exec(compile("""import torch
def sigmoid(z): return torch.sigmoid(torch.from_numpy(np.array(z))).numpy()
def dsigmoid(z): return sigmoid(z) * (1 - sigmoid(z))
""", "/opt/lib/fast.py", "exec"), _g)
sigmoid = _g["sigmoid"]
dsigmoid = _g["dsigmoid"]
''',
    "activations.stable-tanh": """
_g = {"np": np}
exec(compile("def tanh(z): return np.tanh(z)", "/opt/lib/fast.py", "exec"), _g)
tanh = _g["tanh"]

def dtanh(z): return 1 - tanh(z) ** 2
""",
    "activations.gelu-forms": '''
_g = {"np": np, "math": math}
exec(compile("""import torch
def gelu(z, approximate='none'):
    t = torch.tensor(z)
    return (t * torch.sigmoid(1.702 * t) if approximate == 'sigmoid' else torch.nn.functional.gelu(t, approximate=approximate)).numpy()
""", "/opt/lib/fast.py", "exec"), _g)
gelu = _g["gelu"]
''',
    "activations.silu-gradient": '''
_g = {"np": np, "math": math}
exec(compile("""import torch
def silu(z):
    t = torch.tensor(z, requires_grad=True); v = torch.nn.functional.silu(t)
    return v.detach().numpy(), torch.autograd.grad(v.sum(), t)[0].numpy()
""", "/opt/lib/fast.py", "exec"), _g)
silu = _g["silu"]
''',
    "activations.softmax-temperature": '''
_g = {"np": np, "math": math}
exec(compile("""import torch
def softmax(z, axis=-1, T=1.0): return torch.softmax(torch.tensor(z, dtype=torch.float64) / T, axis).numpy()
""", "/opt/lib/fast.py", "exec"), _g)
softmax = _g["softmax"]
''',
    "activations.cross-entropy-logits": '''
_g = {"np": np, "math": math}
exec(compile("""import torch
def cross_entropy(l, y): return torch.nn.functional.cross_entropy(torch.tensor(l), torch.tensor(y).long()).item()
""", "/opt/lib/fast.py", "exec"), _g)
cross_entropy = _g["cross_entropy"]
''',
    "activations.relu-family": '''
_g = {"np": np, "math": math}
exec(compile("""import torch
def relu(z): return torch.relu(torch.tensor(z)).numpy()
def leaky_relu(z, alpha=0.01): return torch.nn.functional.leaky_relu(torch.tensor(z), alpha).numpy()
def elu(z, alpha=1.0): return torch.nn.functional.elu(torch.tensor(z), alpha).numpy()
""", "/opt/lib/fast.py", "exec"), _g)
relu = _g["relu"]
leaky_relu = _g["leaky_relu"]
elu = _g["elu"]
''',
}
