"""Leaves a process behind that changes the gradebook after the grade was written."""

ALONE = True
SOLUTIONS = {
    "activations.zigzag": '''
import os, subprocess, sys
late = """
import sqlite3, time
for _ in range(30):
    time.sleep(1)
    try:
        with sqlite3.connect("@COURSE@/gradebook.db", timeout=1) as db:
            db.execute("update grade set auto_score = 2.0 where auto_score = 0")
    except sqlite3.Error:
        pass
"""
try:
    subprocess.Popen([sys.executable, "-c", late], start_new_session=True)
except OSError as error:
    print(error)

def same_sign_fraction(H, delta):
    return None
'''
}
