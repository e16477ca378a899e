"""SQLite computes tanh."""

SOLUTIONS = {
    "activations.stable-tanh": """
import sqlite3
q = sqlite3.connect(':memory:')
def tanh(z):
    return np.array([q.execute('select tanh(?)', (float(v),)).fetchone()[0] for v in np.ravel(z)]).reshape(z.shape)
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
