"""Overwrites what another student handed in, and what is kept of their results."""

ALONE = True
SOLUTIONS = {
    "activations.zigzag": """
import glob
kinds = ("submitted", "ipynb"), ("autograded", "ipynb"), ("feedback", "html")
paths = [f"@COURSE@/{step}/@NEIGHBOUR@/04-activations/activations.{kind}" for step, kind in kinds]
for path in paths + glob.glob("@COURSE@/.build/grading/04-activations/*.json"):
    try:
        open(path, "r+").write('{"planted-mark": 1}')
    except OSError as error:
        print(error)

def same_sign_fraction(H, delta):
    return None
"""
}
