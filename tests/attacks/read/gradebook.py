"""Reads all grades from the gradebook and prints them."""

SOLUTIONS = {
    "activations.zigzag": """
import sqlite3
for how in ("file:@COURSE@/gradebook.db?mode=ro&immutable=1", "file:@COURSE@/gradebook.db"):
    try:
        for row in sqlite3.connect(how, uri=True).execute("select id, first_name from student"):
            print("stu" + "dent", row)
    except Exception as error:
        print(type(error).__name__)

def same_sign_fraction(H, delta):
    return None
"""
}


def success(seen):
    return "the gradebook was read" if "student (" in seen.own_text else ""
