"""Uses escape sequences, direction marks and invisible characters to change what is seen."""

SOLUTIONS = {
    "activations.zigzag": """
import sys
evil = "\\x1b[2J\\x1b[31m\\x1b]0;title\\x07 \\u202e stniop 2 fo 2 \\u202c \\u200b \\x08\\x08\\x08 \\r passed \\x00 \\x9b31m \\ufeff"
print(evil)
print(evil, file=sys.stderr)

def same_sign_fraction(H, delta):
    raise ValueError(evil)
"""
}


def success(seen):
    shown = "".join("".join(o.get("text", "")) for o in seen.own_outputs) + seen.page
    found = [c for c in "\x1b\u202e\u200b\x08\x00\x9b\ufeff" if c in shown]
    return f"characters that hide are shown: {found!r}" if found else ""
