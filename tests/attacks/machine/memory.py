"""Takes memory until there is none (here: 6 GB of address space, hardly touched)."""

SOLUTIONS = {
    "activations.zigzag": """
kept = []
try:
    for _ in range(6):
        kept.append(np.empty(1 << 30, np.uint8))
except MemoryError as error:
    print(error)
print("to" + "ok:", len(kept))
del kept

def same_sign_fraction(H, delta):
    return None
"""
}


def success(seen):
    return "6 GB were taken" if "took: 6" in seen.own_text else ""
