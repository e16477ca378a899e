"""Displays tables that span sixty times a thousand columns and 60,000 rows in every cell: laying them out stops a browser."""

SOLUTIONS = {
    "activations.stable-tanh": """
from IPython.display import HTML, display
for _ in range(8):
    display(HTML("<table>" + ("<tr>" + "<td colspan=1000 rowspan=60000>" * 60) * 22))

def tanh(z):
    return None

dtanh = tanh
"""
}


def success(seen):
    shown = "".join("".join(o.get("data", {}).get("text/html", "")) for o in seen.own_outputs)
    return "cells that span many columns are kept" if 'colspan="1000"' in shown else ""
