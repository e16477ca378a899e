"""Leaves files in shared temporary folders that the next student's cell would import or read."""

SOLUTIONS = {
    "activations.stable-tanh": """
import os, tempfile
for folder in (os.getcwd(), tempfile.gettempdir(), os.path.expanduser("~"), "@CANARY@"):
    try:
        open(os.path.join(folder, "left.py"), "w").write("x = 'planted-mark'")
    except OSError:
        pass

def tanh(z):
    return None

dtanh = tanh
""",
    "activations.zigzag": """
import os, tempfile
for folder in (os.getcwd(), tempfile.gettempdir(), os.path.expanduser("~"), "@CANARY@"):
    try:
        print("left", "over:", open(os.path.join(folder, "left.py")).read())
    except OSError:
        pass

def same_sign_fraction(H, delta):
    return None
""",
}


def success(seen):
    return "one exercise left something for another" if "left over:" in seen.own_text else ""
