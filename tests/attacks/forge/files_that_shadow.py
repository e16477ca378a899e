"""Hands in modules beside the notebook that shadow NumPy, the engine, and what Python imports at start."""

SOLUTIONS = {"activations.zigzag": "def same_sign_fraction(H, delta):\n    return None\n"}
ENGINE = """
from IPython import get_ipython
class Points(float):
    pass
def grade(id):
    get_ipython().displayhook(2.0)
    raise SystemExit
grade_quiz = grade
"""


def hand_in(folder, place):
    for name in ("autograder", "utils"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    (folder / "autograder" / "live.py").write_text(ENGINE)
    (folder / "sitecustomize.py").write_text(f"open({str(place.canary / 'made')!r}, 'w').write('x')\n")
    (folder / "yaml.py").write_text("raise SystemExit\n")
