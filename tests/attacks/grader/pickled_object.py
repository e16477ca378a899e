"""Answers with objects whose unpickling, copying or printing runs code of its own in the grader."""

SOLUTIONS = {
    "activations.zigzag": """
import os

class Evil(dict):
    def __reduce__(self): return (open, ("@CANARY@/made", "w"))
    __deepcopy__ = None
    def keys(self): open("@CANARY@/made", "w").write("x")
    def items(self): open("@CANARY@/made", "w").write("x"); return []
    def __repr__(self): return open("@CANARY@/made", "w").name

def same_sign_fraction(H, delta):
    return Evil(a=1)
"""
}
