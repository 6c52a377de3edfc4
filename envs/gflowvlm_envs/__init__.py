"""Gymnasium environments for agents that see: usable without the toolkit.

Importing this package registers every id of the namespace `gflowvlm/`.
"""

import gymnasium

gymnasium.register("gflowvlm/NumberLine-v0", entry_point="gflowvlm_envs.number_line:NumberLine")
gymnasium.register("gflowvlm/EZPoints-v0", entry_point="gflowvlm_envs.points.variants:EZPoints")
gymnasium.register("gflowvlm/Points12-v0", entry_point="gflowvlm_envs.points.variants:Points12")
gymnasium.register("gflowvlm/Points24-v0", entry_point="gflowvlm_envs.points.game:Points")
gymnasium.register(
    "gflowvlm/ALFWorld-v0", entry_point="gflowvlm_envs.alfworld.environment:ALFWorld"
)
gymnasium.register(
    "gflowvlm/ALFWorldThor-v0", entry_point="gflowvlm_envs.alfworld.thor:ALFWorldThor"
)
gymnasium.register("gflowvlm/Blackjack-v0", entry_point="gflowvlm_envs.blackjack:Blackjack")
