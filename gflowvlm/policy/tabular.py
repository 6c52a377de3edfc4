"""A policy without a model: one number per history and action of an enumerated game."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter

from gflowvlm.batch import Row, StepScores
from gflowvlm.episode import Observation, Reply, Segment
from gflowvlm.errors import UserError
from gflowvlm.exact.replies import ReplyForm
from gflowvlm.exact.tree import Tree
from gflowvlm.policy.base import EpisodeKey
from gflowvlm.policy.following import Following
from gflowvlm.policy.noise import uniforms
from gflowvlm.policy.sampling import inverse_cdf
from gflowvlm.policy.starts import ReadState
from gflowvlm.prompting.reply import parse_reply

TABLE_FILE = "tabular.safetensors"


class TabularPolicy:
    """Implements `policy.base.Policy` exactly, so that trained laws can be compared without noise.

    Every history of `tree` has a log-flow, a value and, for each legal action, a logit, which flow
    matching takes for the log-flow of that action. Training starts at the tree's reference, which
    stays frozen. A row is (node, action, node, action, ...): a context token names the history
    by its number in `tree.nodes`, the sampled token is the index of the action; a reply's text is
    the action's word. Where `form` has thoughts or DONE, the tree's actions are whole replies
    (`exact.replies`), one token each.
    """

    def __init__(
        self, tree: Tree, read_state: ReadState | None = None, form: ReplyForm | None = None
    ) -> None:
        """Tables of the size of the tree, in float64.

        Args:
            tree: the game; its `log_ref` is the reference.
            read_state: tells starts apart, and outcomes of chance; `read_starts` makes one. None
                does where there is one start and no chance.
            form: of the tree's replies; None where they are actions and nothing else.
        """
        self.tree = tree
        self.form = form or ReplyForm()
        self.read_state = read_state
        self.following = Following(tree)
        self.log_ref = torch.from_numpy(tree.log_ref)  # [N, A], -inf = no such action
        actions = torch.tensor([len(node.legal) for node in tree.nodes])
        self.legal = torch.arange(tree.width)[None] < actions[:, None]  # [N, A]
        self.thought_of = torch.full(self.legal.shape, -1)  # [N, A]
        self.thought_of[self.legal] = torch.tensor(
            [c for node in tree.nodes for c in self.form.thoughts_of(len(node.legal))]
        )
        self.logits = Parameter(torch.where(self.legal, self.log_ref, 0.0))  # [N, A]
        self.log_flow = Parameter(torch.zeros(len(tree.nodes), dtype=torch.float64))  # [N]
        self.value = Parameter(torch.zeros_like(self.log_flow))  # [N]

    def session(
        self, keys: Sequence[EpisodeKey], *, exploration_temperature: float = 1.0
    ) -> "TabularSession":
        """Open a session with one slot per key; exploration temperature 0 is greedy."""
        return TabularSession(self, keys, exploration_temperature)

    def score(self, rows: Sequence[Row]) -> StepScores:
        """Differentiable log-probs of the actions in `rows`, and what their histories have."""
        return self._score(rows, self.logits, learned=True)

    @torch.no_grad()
    def score_reference(self, rows: Sequence[Row]) -> StepScores:
        """The same under the reference: no gradient, no flow, no value."""
        return self._score(rows, self.log_ref, learned=False)

    def rows_of_episode(
        self, observations: Sequence[Observation], replies: Sequence[str]
    ) -> tuple[Row]:
        """One row, of given replies in the toolkit's JSON; thoughts are dropped."""
        session = TabularSession(self, [EpisodeKey(0, 0)], 1.0)
        for seen, reply in zip(observations, replies, strict=True):
            session.give(0, seen, reply)
        return session.rows(0)

    @torch.no_grad()
    def initialise_flow(self, value: float) -> None:
        """Make log F answer `value` nats everywhere."""
        self.log_flow.fill_(value)

    @torch.no_grad()
    def initialise_value(self, value: float) -> None:
        """Make V answer `value` nats everywhere."""
        self.value.fill_(value)

    def parameter_groups(self) -> dict[str, list[Parameter]]:
        """Logits as `adapter`, flows and values as `heads`."""
        return {"adapter": [self.logits], "heads": [self.log_flow, self.value]}

    @torch.no_grad()
    def log_policy(self) -> NDArray[np.float64]:
        """[N, A] log-probs for `exact.law.terminal_law`, -inf where there is no action."""
        table = torch.full_like(self.logits, -torch.inf)
        acting = self.legal.any(1)
        table[acting] = self.log_softmax(self.logits, acting.nonzero()[:, 0])
        return table.numpy()

    def log_softmax(self, logits: Tensor, nodes: Tensor) -> Tensor:
        """[len(nodes), A] log-probs at histories that have not ended."""
        return torch.where(self.legal[nodes], logits[nodes], -torch.inf).log_softmax(-1)

    def save(self, folder: Path) -> None:
        """Write all tables."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"logits": self.logits, "log_flow": self.log_flow, "value": self.value}
        save_file({name: table.detach() for name, table in tables.items()}, folder / TABLE_FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read what `save` wrote, in place.

        Raises:
            UserError: it belongs to another tree.
        """
        tables = load_file(Path(folder) / TABLE_FILE)
        if tables["logits"].shape != self.logits.shape:
            raise UserError(
                f"{folder} holds logits {list(tables['logits'].shape)}, this tree has "
                f"{list(self.logits.shape)}: load into the policy of the same game"
            )
        for name, table in tables.items():
            getattr(self, name).copy_(table)

    def _score(self, rows: Sequence[Row], logits: Tensor, *, learned: bool) -> StepScores:
        nodes, actions = self.following.decisions(rows)
        log_prob = self.log_softmax(logits, nodes)
        chosen = log_prob.gather(1, actions[:, None])[:, 0]
        every = log_prob.detach()
        thought = self._thoughts(log_prob, nodes, actions)
        last = self.legal[nodes].sum(1, keepdim=True) - 1
        flows = self._flows(rows, nodes, actions) if learned else {"flow": None}
        return StepScores(
            thought_log_prob=thought,
            action_log_prob=chosen - thought,
            entropy=-torch.where(every > -torch.inf, every * every.exp(), 0.0).sum(1),
            token_log_prob=chosen,
            token_decision=torch.arange(len(chosen)),
            log_p_done=log_prob.gather(1, last)[:, 0] if self.form.done else None,
            **flows,
        )

    def _thoughts(self, log_prob: Tensor, nodes: Tensor, replies: Tensor) -> Tensor:
        """[D] log-prob of each reply's thought, 0 for DONE and where all think alike."""
        if self.form.thoughts == 1:
            return torch.zeros(len(nodes), dtype=log_prob.dtype)
        thought = self.thought_of[nodes]
        own = thought.gather(1, replies[:, None])
        together = torch.where(thought == own, log_prob, -torch.inf).logsumexp(1)
        return torch.where(own[:, 0] >= 0, together, 0.0)

    def _flows(
        self, rows: Sequence[Row], nodes: Tensor, actions: Tensor
    ) -> dict[str, Tensor | None]:
        """Flows and values of `StepScores`; NaN after a last action that is left to chance."""
        state = self.following.states(rows)
        acting = (state >= 0) & self.legal[state].any(1)
        out = torch.where(self.legal, self.logits, -torch.inf)[state[acting]].logsumexp(-1)
        log_prob, flow, log_reward = self.following.outcomes(nodes, actions, self.log_flow)
        return {
            "flow": torch.where(state >= 0, self.log_flow[state], torch.nan),
            "value": torch.where(state >= 0, self.value[state], torch.nan),
            "out_flow": torch.full_like(self.log_flow[state], torch.nan).masked_scatter(
                acting, out
            ),
            "outcome_log_prob": log_prob,
            "outcome_flow": flow,
            "outcome_log_reward": log_reward,
        }


@dataclass
class _Slot:
    key: EpisodeKey
    nodes: list[int] = field(default_factory=list)  # histories at which a reply was given
    actions: list[int] = field(default_factory=list)


class TabularSession:
    """Implements `policy.base.Session` for a table; the slot's place in the tree is its memory."""

    def __init__(
        self, policy: TabularPolicy, keys: Sequence[EpisodeKey], exploration_temperature: float
    ) -> None:
        """One slot per key; the temperature divides the logits of what is sampled."""
        self._policy = policy
        self._temperature = exploration_temperature
        self._slots = [_Slot(key) for key in keys]
        self._open = set(range(len(keys)))

    @torch.no_grad()
    def reply(self, observations: Mapping[int, Observation]) -> dict[int, Reply]:
        """Sample one action for each slot given; slots left out are dropped for good."""
        gone = [slot for slot in observations if slot not in self._open]
        if gone:
            raise ValueError(f"slots {gone} were left out of an earlier turn: open a new session")
        self._open = set(observations)
        if not observations:
            return {}
        live = [self._slots[slot] for slot in observations]
        for slot, seen in zip(live, observations.values(), strict=True):
            slot.nodes.append(self._place(slot, seen))
        log_prob = self._policy.log_softmax(
            self._policy.logits, torch.tensor([slot.nodes[-1] for slot in live])
        )
        chosen, value = self._draw(log_prob, live)
        replies = {}
        for index, slot, reply, behaviour in zip(observations, live, chosen, value, strict=True):
            slot.actions.append(reply)
            node = self._policy.tree.nodes[slot.nodes[-1]]
            done = self._policy.thought_of[slot.nodes[-1], reply].item() < 0
            replies[index] = Reply(
                text=node.legal[reply],
                token_ids=(reply,),
                segment=(Segment.ACTION,),
                log_probs=(behaviour,),
                action=None if done else reply % len(observations[index].legal_actions),
                done=done,
            )
        return replies

    def give(self, slot: int, observation: Observation, reply: str) -> None:
        """Let a slot take a given reply instead of one that is sampled: a word, or JSON."""
        words = observation.legal_actions
        action = words.index(reply) if reply in words else parse_reply(reply, words).action
        assert action is not None, f"a given reply must name a legal action: {reply!r}"
        self._slots[slot].nodes.append(self._place(self._slots[slot], observation))
        self._slots[slot].actions.append(action)

    def rows(self, slot: int) -> tuple[Row]:
        """One row: histories and actions in turn; the last state is read at the last action."""
        nodes, actions = self._slots[slot].nodes, self._slots[slot].actions
        steps = range(len(actions))
        row = Row(
            input_ids=tuple(token for pair in zip(nodes, actions, strict=True) for token in pair),
            decision_of=tuple(decision for step in steps for decision in (-1, step)),
            segment=(Segment.CONTEXT, Segment.ACTION) * len(actions),
            state_at=(*(2 * step for step in steps), 2 * len(actions) - 1),
            vision=(),
            allowed={
                2 * step + 1: tuple(range(len(self._policy.tree.nodes[nodes[step]].legal)))
                for step in steps
            },
        )
        return (row,)

    def room(self, slot: int, observation: Observation) -> int:
        """A table has no context to fill."""
        return sys.maxsize

    def _draw(self, log_prob: Tensor, live: Sequence[_Slot]) -> tuple[list[int], list[float]]:
        """One action per slot by one uniform of its decision, and its behaviour log-prob."""
        if self._temperature == 0.0:
            return log_prob.argmax(-1).tolist(), [0.0] * len(live)
        if self._temperature != 1.0:
            log_prob = (log_prob / self._temperature).log_softmax(-1)
        noise = np.concatenate([uniforms(slot.key, len(slot.actions), 1) for slot in live])
        chosen = inverse_cdf(log_prob, torch.from_numpy(noise))
        return chosen.tolist(), log_prob.gather(1, chosen[:, None])[:, 0].tolist()

    def _place(self, slot: _Slot, seen: Observation) -> int:
        """Number of the history that `seen` completes."""
        tree = self._policy.tree
        candidates = (
            [branch.child for branch in tree.nodes[slot.nodes[-1]].branches[slot.actions[-1]]]
            if slot.nodes
            else list(tree.roots)
        )
        if len(candidates) > 1:
            if self._policy.read_state is None:
                raise UserError(
                    f"{len(candidates)} histories could be meant by what is shown: give the "
                    "tabular policy a read_state"
                )
            state = self._policy.read_state(seen)
            fitting = [each for each in candidates if tree.nodes[each].history.states[-1] == state]
            if len(fitting) != 1:
                raise ValueError(f"{len(fitting)} histories end in {state}, expected one")
            candidates = fitting
        node = tree.nodes[candidates[0]]
        if node.legal != self._policy.form.words(seen.legal_actions):
            raise ValueError(
                f"legal actions are {seen.legal_actions}, the tree has {node.legal} after actions "
                f"{node.history.actions}: enumerate the tree of this very environment"
            )
        return candidates[0]
