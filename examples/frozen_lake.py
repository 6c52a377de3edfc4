"""Gymnasium's FrozenLake as a task for a vision-language model: pixels, words and a limit."""

import gymnasium
import numpy as np

COLOURS = {b"S": (200, 220, 255), b"F": (200, 220, 255), b"H": (20, 40, 120), b"G": (0, 160, 60)}
WORDS = ("left", "down", "right", "up")
TASK = "You are red. Walk over light ice to the green field; dark holes and {} steps end the game."


class PixelLake(gymnasium.Wrapper):
    def __init__(self, limit=12):
        super().__init__(gymnasium.make("FrozenLake-v1", is_slippery=False).unwrapped)
        self.observation_space = gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        self.limit = limit

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        cell, _ = self.env.reset(seed=seed, options=options)
        return self.draw(cell), self.say(success=False)

    def step(self, action):
        self.steps += 1
        cell, reward, ended, _, _ = self.env.step(action)
        ended = bool(ended) or self.steps == self.limit  # the limit is part of the task
        return self.draw(cell), float(reward), ended, False, self.say(success=reward > 0)

    def draw(self, cell):
        fields = np.array([[COLOURS[c] for c in row] for row in self.unwrapped.desc], np.uint8)
        image = fields.repeat(16, 0).repeat(16, 1)
        top, left = (16 * int(i) + 4 for i in divmod(cell, len(fields)))
        image[top : top + 8, left : left + 8] = (220, 30, 30)
        return image

    def say(self, success):
        return {"task": TASK.format(self.limit), "legal_actions": WORDS, "success": bool(success)}


gymnasium.register("PixelLake-v0", entry_point=PixelLake)
