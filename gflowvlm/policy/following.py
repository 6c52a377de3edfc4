"""What follows a decision in an enumerated game: the histories, their chances and their flows."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gflowvlm.batch import Row
from gflowvlm.exact.tree import Tree


class Following:
    """Looks up rows of a table's policy, (node, action, node, action, ...), in their tree.

    A row of an odd number of tokens ends at a history that was seen but not replied to.
    """

    def __init__(self, tree: Tree) -> None:
        """Tables of the size of the tree.

        Args:
            tree: the game.
        """
        every = [branches for node in tree.nodes for branches in node.branches]
        most = max(map(len, every))  # O: the most things that may follow an action
        shape = (len(tree.nodes), tree.width, most)
        self._probability = torch.zeros(shape, dtype=torch.float64)  # [N, A, O]  0 for none
        self._child = torch.zeros(shape, dtype=torch.long)  # [N, A, O]
        for number, node in enumerate(tree.nodes):
            for action, branches in enumerate(node.branches):
                for place, branch in enumerate(branches):
                    self._probability[number, action, place] = branch.probability
                    self._child[number, action, place] = branch.child
        self._log_reward = torch.tensor(
            [torch.nan if n.log_reward is None else n.log_reward for n in tree.nodes],
            dtype=torch.float64,
        )  # [N]  NaN where the game goes on

    def decisions(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """[D] the history of each decision, and [D] what was done there."""
        taken = [
            (row.input_ids[position - 1], row.input_ids[position])
            for row in rows
            for position, decision in enumerate(row.decision_of)
            if decision >= 0
        ]
        nodes, actions = torch.tensor(taken).reshape(-1, 2).unbind(1)
        return nodes, actions

    def states(self, rows: Sequence[Row]) -> Tensor:
        """[D + N] the histories that flows are read at; -1 where the last is left to chance."""
        found: list[int] = []
        for row in rows:
            found.extend(row.input_ids[at] for at in row.state_at if at % 2 == 0)
            if row.state_at[-1] % 2 == 1:
                last = row.input_ids[-2], row.input_ids[-1]
                certain = self._probability[last][0] == 1
                found.append(int(self._child[last][0]) if certain else -1)
        return torch.tensor(found)

    def outcomes(
        self, nodes: Tensor, actions: Tensor, log_flow: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All that may follow some decisions.

        Args:
            nodes: [D].
            actions: [D].
            log_flow: [N] of every history.

        Returns:
            [D, O] log-prob of each outcome, -inf for none; its log F; its log R, NaN where the game
            goes on.
        """
        child = self._child[nodes, actions]
        log_prob = self._probability[nodes, actions].log()
        return log_prob, log_flow[child], self._log_reward[child]
