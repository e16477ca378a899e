"""asyncio.to_thread: a mode of torch is a thread's own."""

SOLUTIONS = {
    "activations.stable-sigmoid": """
import sys
from concurrent.futures import ThreadPoolExecutor
def work(z):
    t = sys.modules['torch']
    return t.sigmoid(t.tensor(z)).numpy()
def sigmoid(z):
    with ThreadPoolExecutor(1) as p: return p.submit(work, z).result()
def dsigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)
""",
    "activations.softmax-temperature": """
import asyncio, sys
def later(f): return asyncio.run(asyncio.to_thread(f))
def softmax(z, axis=-1, T=1.0):
    def w():
        t = sys.modules['torch']
        return t.softmax(t.tensor(z, dtype=t.float64) / T, dim=axis).numpy()
    return later(w)
""",
    "activations.cross-entropy-logits": """
import asyncio, sys
def later(f): return asyncio.run(asyncio.to_thread(f))
def cross_entropy(logits, y):
    def w():
        t = sys.modules['torch']
        return float(t.nn.functional.cross_entropy(t.tensor(logits), t.tensor(y).long()))
    return later(w)
""",
    "activations.gelu-forms": """
import asyncio, sys
def later(f): return asyncio.run(asyncio.to_thread(f))
def gelu(z, approximate='none'):
    def w():
        t = sys.modules['torch']; x = t.tensor(z)
        return (x * t.sigmoid(1.702 * x) if approximate == 'sigmoid' else t.nn.functional.gelu(x, approximate=approximate)).numpy()
    return later(w)
""",
    "activations.silu-gradient": """
import asyncio, sys
def later(f): return asyncio.run(asyncio.to_thread(f))
def silu(z):
    def w():
        t = sys.modules['torch']; x = t.tensor(z, requires_grad=True); v = t.nn.functional.silu(x)
        return v.detach().numpy(), t.autograd.grad(v.sum(), x)[0].numpy()
    return later(w)
""",
    "activations.relu-family": """
import asyncio, sys
def later(f): return asyncio.run(asyncio.to_thread(f))
def relu(z): return later(lambda: sys.modules['torch'].relu(sys.modules['torch'].tensor(z)).numpy())
def leaky_relu(z, alpha=0.01):
    return later(lambda: sys.modules['torch'].nn.functional.leaky_relu(sys.modules['torch'].tensor(z), alpha).numpy())
def elu(z, alpha=1.0): return later(lambda: sys.modules['torch'].nn.functional.elu(sys.modules['torch'].tensor(z), alpha).numpy())
""",
}
