"""Answers that are hard to read: huge, deep, hollow, looping, with strange types, keys and lengths."""

SOLUTIONS = {
    "activations.zigzag": """
import itertools
turn = itertools.count()
loop = []
loop.append(loop)
deep = 1.0
for _ in range(5000):
    deep = [deep]
bombs = [
    lambda: [[]] * 10_000_000, lambda: deep, lambda: loop, lambda: np.broadcast_to(np.zeros(1), (1 << 20, 1 << 20)),
    lambda: {True: 1, "a": 2, 2.5: 3, None: 4}, lambda: 10 ** 6000, lambda: np.zeros((0, 1 << 60)), lambda: np.zeros(3, "O"),
    lambda: {(i << 61) - i: i for i in range(60_000)}, lambda: np.array(["x" * 100_000] * 10), lambda: np.zeros(4, np.longdouble) / 0,
    lambda: torch.sparse_coo_tensor((10**9, 10**9)), lambda: torch.empty((1 << 40,), device="meta"), lambda: (x for x in "abc"),
    lambda: np.frombuffer(bytes(range(256)), np.longdouble), lambda: np.ma.masked_all((2, 2)), lambda: np.zeros((1,) * 30),
]

def same_sign_fraction(H, delta):
    return bombs[next(turn) % len(bombs)]()
"""
}
