"""ALFWorld: household tasks in text, with pictures of what has been seen.

The optional packages `alfworld` and `textworld` play the games and are imported only where a game
is played or made; `gflowvlm_envs` works without them.
"""
