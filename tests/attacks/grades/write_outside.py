"""Changes a file outside of its folder by writing, renaming, linking, truncating and changing permissions."""

SOLUTIONS = {
    "activations.zigzag": """
import os, shutil
canary = "@CANARY@"
for step in (
    lambda: open(f"{canary}/made", "w").write("x"), lambda: open(f"{canary}/victim.txt", "a").write("x"),
    lambda: os.truncate(f"{canary}/victim.txt", 1), lambda: os.rename(f"{canary}/victim.txt", f"{canary}/moved.txt"),
    lambda: os.link(f"{canary}/victim.txt", f"{canary}/hard.txt"), lambda: os.symlink("/etc", f"{canary}/soft"),
    lambda: os.mkdir(f"{canary}/folder"), lambda: np.save(f"{canary}/array.npy", np.zeros(2)),
    lambda: torch.save({}, f"{canary}/model.pt"), lambda: os.mkfifo(f"{canary}/pipe"),
):
    try:
        step()
    except Exception as error:
        print(type(error).__name__)

def same_sign_fraction(H, delta):
    return None
"""
}
