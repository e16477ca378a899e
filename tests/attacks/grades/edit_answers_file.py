"""Changes the answers file, the source notebook and the configuration, so that everything is right from now on."""

ALONE = True
SOLUTIONS = {
    "activations.zigzag": """
for path in ("chapters/04-activations/answers.py", "chapters/04-activations/quiz.yaml", "nbgrader_config.py", "secret.txt"):
    try:
        with open(f"@COURSE@/{path}", "a") as file:
            file.write("# planted" + "-mark\\n")
    except OSError as error:
        print(error)

def same_sign_fraction(H, delta):
    return None
"""
}
