"""Writes characters that hide or turn the direction of writing as entities of HTML."""

SOLUTIONS = {
    "activations.zigzag": """
from IPython.display import HTML, display
display(HTML("&#x202e;stniop 2 fo 2&#x202c;&#x200b;&#xfeff;"))

def same_sign_fraction(H, delta):
    return None
"""
}


def success(seen):
    shown = "".join("".join(o.get("data", {}).get("text/html", "")) for o in seen.own_outputs) + seen.page
    found = [c for c in "\u202e\u202c\u200b\ufeff" if c in shown]
    return f"characters that hide are shown: {found!r}" if found else ""
