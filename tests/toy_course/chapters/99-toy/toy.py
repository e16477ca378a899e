# %% [markdown]
# # A chapter for tests
#
# It has one exercise of each kind.

# %% setup=true
import numpy as np

# %% [markdown]
# ### Exercise toy.relu · difficulty 1 of 5 · 2 min · 2 points
#
# Write `relu(z)`.

# %% exercise="toy.relu" points=2
def relu(z: np.ndarray) -> np.ndarray:
    """Negative entries become 0."""
    ### BEGIN SOLUTION
    return np.maximum(z, 0)
    ### END SOLUTION


# %% check="toy.relu"
assert relu(np.array(-1.0)) == 0, "negative goes to 0"

# %% demo="toy.demo" covers="toy.demo"
print("a demo")

# %% [markdown]
# ### Exercise toy.fix-leaky · difficulty 1 of 5 · 2 min · 2 points
#
# Repair `leaky(z)`.

# %% exercise="toy.fix-leaky" points=2
### BEGIN SOLUTION
def leaky(z):
    return np.where(z > 0, z, 0.01 * z)


### END SOLUTION

# %% broken="toy.fix-leaky"
def leaky(z):
    return np.maximum(z, 0.01) + 1


# %% check="toy.fix-leaky"
assert leaky(np.array(2.0)) == 2

# %% [markdown]
# ### Exercise toy.test-relu · difficulty 1 of 5 · 2 min · 2 points
#
# Write `check_relu(relu)`.

# %% exercise="toy.test-relu" points=2
def check_relu(relu) -> None:
    """Raise AssertionError for a wrong relu."""
    ### BEGIN SOLUTION
    z = np.array([-2.0, 0.0, 3.0])
    assert np.array_equal(relu(z), [0.0, 0.0, 3.0])
    ### END SOLUTION


# %% check="toy.test-relu"
check_relu(lambda z: np.maximum(z, 0))

# %% quiz=true
