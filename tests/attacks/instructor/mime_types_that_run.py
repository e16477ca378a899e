"""Displays every type that a viewer would interpret: SVG, LaTeX, Markdown, JavaScript, widgets, Vega."""

SOLUTIONS = {
    "activations.zigzag": """
class Everything:
    def _repr_svg_(self): return "<svg onload=alert(1)></svg>"
    def _repr_markdown_(self): return "<img src=x onerror=alert(1)>"
    def _repr_latex_(self): return "$\\\\href{javascript:alert(1)}{x}$"
    def _repr_javascript_(self): return "alert(1)"
    def _repr_png_(self): return '"onerror="alert(1)'
    def _repr_jpeg_(self): return b"x"
    def _repr_mimebundle_(self, **more):
        return {"application/javascript": "alert(1)", "image/svg+xml": "<svg onload=alert(1)/>"}

display(Everything())
Everything()

def same_sign_fraction(H, delta):
    return None
"""
}
