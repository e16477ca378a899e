"""The whole cell is a script of another language."""

SOLUTIONS = {"activations.zigzag": "%%bash\ncat @COURSE@/secret.txt\necho x > @CANARY@/made\n"}
