"""A thread's frames show no learner's code."""

SOLUTIONS = {
    "activations.stable-tanh": """
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
pool = ThreadPoolExecutor(1)
def tanh(z): return pool.submit(attrgetter("tanh")(np), z).result()
def dtanh(z): return 1 - tanh(z) ** 2
""",
}
