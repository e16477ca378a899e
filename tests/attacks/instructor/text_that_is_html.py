"""Puts tags where text is expected: names, errors, warnings, keys, printed lines, comments, magics."""

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(1)>"
SOLUTIONS = {
    "activations.zigzag": f"""
import sys, warnings
evil = {EVIL!r}
print(evil)
print(evil, file=sys.stderr)
warnings.warn(evil, RuntimeWarning)
get_ipython().run_line_magic(evil, evil)
get_ipython().system(evil)

class Error(Exception):
    pass

Error.__name__ = Error.__qualname__ = evil

def same_sign_fraction(H, delta):
    raise Error(evil)  # {EVIL}
""",
    "activations.stable-sigmoid": f"def sigmoid(z):\n    return {{{EVIL!r}: {EVIL!r}}}\n\ndsigmoid = sigmoid\n",
    "activations.quiz": f"answers = {{'activations.q01': {EVIL!r}, {EVIL!r}: 'a'}}\n",
    "activations.stable-tanh": f"assert False, {EVIL!r}\n",
}
