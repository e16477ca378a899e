"""Uses magics and shell lines to read and write files."""

SOLUTIONS = {
    "activations.zigzag": """
!cat @COURSE@/secret.txt; echo x > @CANARY@/made
lines = !cat @COURSE@/secret.txt
print(lines)
print(get_ipython().getoutput("cat @COURSE@/secret.txt"))
get_ipython().system("cat @COURSE@/secret.txt")
%sx cat @COURSE@/secret.txt
%pycat @COURSE@/secret.txt
%run @COURSE@/chapters/04-activations/answers.py
get_ipython().run_cell_magic("writefile", "@CANARY@/made", "x")
get_ipython().run_cell_magic("bash", "", "cat @COURSE@/secret.txt; echo x > @CANARY@/made")

def same_sign_fraction(H, delta):
    return None
"""
}
