"""Displays 15 KB of misnested HTML that sanitising turns into 7 MB, twice."""

SOLUTIONS = {
    "activations.zigzag": """
from IPython.display import HTML, display
bomb = "<p>" + "".join(f"<b {i:x}>" for i in range(1000)) + "</p><p>x" * 1000
display(HTML(bomb), HTML(bomb))

def same_sign_fraction(H, delta):
    return None
"""
}
