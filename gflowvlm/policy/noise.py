"""Sampling noise by counter, so that a token's uniform does not depend on the batch around it."""

import numpy as np
from numpy.typing import NDArray

from gflowvlm.policy.base import EpisodeKey


def uniforms(key: EpisodeKey, decision: int, count: int) -> NDArray[np.float64]:
    """[count] uniforms in [0, 1) of one decision; a longer draw begins with the shorter one.

    Philox with key (run seed, episode); the counter's second word is the decision and its first
    word, which the generator advances, counts the tokens.
    """
    word = (1 << 64) - 1
    key_words = np.array([key.run_seed & word, key.episode & word], dtype=np.uint64)
    counter = np.array([0, decision, 0, 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key_words, counter=counter)).random(count)
