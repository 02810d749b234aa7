"""From several channels to one: their mean, unless they cancel each other."""

import numpy as np

# The power of the sum, against the sum of the powers: 1 for channels that have nothing in common or if one is silent,
# 2 for two equal ones, 0 for two that are each other's inverse (a cable with + and - on left and right).
CANCELLED = 0.2
LOUDER = 2.0  # the first channel is taken, unless another one has twice its power


class Mixer:
    """
    Mixes the channels of a recording, block by block.

    `cancel` says whether they cancelled each other in a block, so that one of them was taken and not their mean.
    """

    def __init__(self) -> None:
        self.cancel = False
        self._powers, self._power_of_sum = 0.0, 0.0

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """Return (N,) from (N, C)."""
        if samples.shape[1] == 1:
            return samples[:, 0]
        mean = samples.mean(axis=1)
        # Without the constant offset of a cheap sound card, which is no sound and does not cancel.
        offsets = samples.mean(axis=0, dtype=np.float64)
        powers = np.einsum("nc,nc->c", samples, samples, dtype=np.float64) - len(samples) * offsets**2
        power_of_sum = (float(np.dot(mean, mean)) - len(samples) * offsets.mean() ** 2) * samples.shape[1] ** 2
        self._powers += float(powers.sum())
        self._power_of_sum += power_of_sum
        # A block of a few samples may look so by chance: then the recording up to here does not.
        if not (_cancelled(power_of_sum, float(powers.sum())) and _cancelled(self._power_of_sum, self._powers)):
            return mean
        self.cancel = True
        loudest = int(powers.argmax())
        return samples[:, loudest if powers[loudest] > LOUDER * powers[0] else 0]


def _cancelled(power_of_sum: float, powers: float) -> bool:
    return power_of_sum < CANCELLED * powers  # False for silence and for samples that are not finite
