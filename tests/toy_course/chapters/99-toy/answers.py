import numpy as np

from autograder.authoring import arrays, exercise, right, trap


def rectified(z):
    return np.maximum(z, 0)


@exercise("toy.relu", names="relu", covers=["toy.relu"], forbid=["torch", "np.clip"])
class Relu:
    def reference(z):
        return np.maximum(z, 0)

    cases = {"values": arrays([(3,), (2, 3)]), "edge": [np.array(-0.5), np.array([1e4, -1e4])]}

    @trap("This is the absolute value: negative entries become 0, not positive.")
    def absolute(z):
        return np.abs(z)

    @trap("The derivative of relu is not relu.")
    def derivative(z):
        return (z > 0) * 1.0

    @trap("Work on a copy: the caller's array changed.")
    def in_place(z):
        z[z < 0] = 0
        return z

    @right("with where")
    def with_where(z):
        return np.where(z > 0, z, 0.0)

    @right("with a loop")
    def with_loop(z):
        return np.array([max(v, 0.0) for v in z.ravel()]).reshape(z.shape)


@exercise("toy.fix-leaky", names="leaky", covers=["toy.leaky"])
class FixLeaky:
    def reference(z):
        return np.where(z > 0, z, 0.01 * z)

    cases = {"values": arrays([(3,), (2, 2)]), "negative": arrays((4,), -5, -1)}

    @trap("Negative entries are scaled, not cut off.")
    def cut(z):
        return np.maximum(z, 0)


@exercise("toy.test-relu", names="check_relu", covers=["toy.relu"])
class TestRelu:
    accepts = {"maximum": rectified, "product": lambda z: z * (z > 0)}
    catches = {"absolute": np.abs, "identity": lambda z: z, "zero": lambda z: np.zeros_like(z)}

    def reference(relu):
        assert np.array_equal(relu(np.array([-2.0, 3.0])), [0.0, 3.0])

    @trap("Your check never looks at a positive number.")
    def negative_only(relu):
        assert relu(np.array(-1.0)) == 0
