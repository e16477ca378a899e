"""Leaves start-up files in the home folder that would run in the next student's kernel."""

ALONE = True
SOLUTIONS = {
    "activations.zigzag": """
import os
folder = os.path.expanduser("~/.ipython/profile_default/startup")
text = "open('@CANARY@/made', 'w').write('x')"
for path in (f"{folder}/00-evil.py", os.path.expanduser("~/.pythonrc.py"), "/dev/shm/evil.py"):
    try:
        if os.path.realpath(path).startswith(("@COURSE@", os.path.expanduser("~"))):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").write(text)
    except OSError as error:
        print(error)

def same_sign_fraction(H, delta):
    return None
"""
}
