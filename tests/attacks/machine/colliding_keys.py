"""Answers with dictionaries and texts whose hashes collide, so that reading them takes minutes."""

SOLUTIONS = {
    "activations.zigzag": """
def same_sign_fraction(H, delta):
    return {i * ((1 << 61) - 1): 0 for i in range(1, 3)} | {str(i): i for i in range(90_000)}
""",
    "activations.quiz": "answers = {" + ", ".join(f"{hex(i * ((1 << 61) - 1))}: 1" for i in range(1, 5000)) + "}\n",
}
