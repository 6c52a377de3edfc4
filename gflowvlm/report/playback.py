"""Played games with the probability of each legal action: what the views draw."""

from collections.abc import Sequence
from dataclasses import dataclass

from gflowvlm.episode import Decision, Ending, Episode

LISTED = 8  # legal actions shown one by one; the rest as a sum
EXPLANATION = (
    "% = the policy's own probability of each legal action given the thought just written, "
    "from its tokens' log-probs, normalised over the legal actions"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A legal action and how likely it was."""

    word: str
    probability: float
    taken: bool


@dataclass(frozen=True, kw_only=True)
class Move:
    """One decision, ready to be shown."""

    decision: Decision
    thought: str
    choices: tuple[Choice, ...]  # likeliest first; empty where the reply came to no action
    legal_share: float | None  # probability of all legal actions together, before normalising

    @property
    def stated(self) -> str:
        """What the reply stated of the image, and where that is wrong."""
        facts = self.decision.facts
        return "; ".join(
            f"{name}: {value}"
            + (f" (wrong: {facts[name]})" if value.strip() != facts.get(name, value) else "")
            for name, value in self.decision.reply.fields.items()
        )

    @property
    def said(self) -> str:
        """The action's word, or why there is none."""
        reply = self.decision.reply
        if reply.action is None:
            assert reply.problem is not None, "a reply without action has a problem"
            return f"no action ({reply.problem.replace('_', ' ')}): {reply.text}"
        return self.decision.observation.legal_actions[reply.action]

    def listed(self) -> tuple[tuple[Choice, ...], int, float]:
        """The choices worth a line of their own; number and probability of the others."""
        first, rest = self.choices[:LISTED], self.choices[LISTED:]
        taken = tuple(choice for choice in rest if choice.taken)
        others = [choice.probability for choice in rest if not choice.taken]
        return (*first, *taken), len(others), sum(others)


@dataclass(frozen=True, kw_only=True)
class Playback:
    """One game."""

    episode: Episode
    moves: tuple[Move, ...]
    title: str  # which game of how many

    @property
    def outcome(self) -> str:
        """How the game ended, with the return and the log-prob of all it took."""
        episode = self.episode
        steps = f"{len(self.moves)} step{'s' * (len(self.moves) != 1)}"
        match episode.ending:
            case Ending.TERMINATED:
                verdict = f"goal {'' if episode.success else 'not '}reached in {steps}"
            case Ending.DONE:
                verdict = f"DONE with the goal {'' if episode.success else 'not '}reached, {steps}"
            case Ending.INVALID_REPLY:
                verdict = f"ended by an invalid reply after {steps}"
            case Ending.OUT_OF_ROOM:
                verdict = f"lost after {steps}: no room for a further reply"
            case Ending.TRUNCATED:
                verdict = f"cut after {steps}: the context is full"
        log_prob = sum(sum(d.reply.log_probs) for d in episode.decisions)
        return f"{verdict}, return {episode.total_reward:+g}, log-prob {log_prob:.2f} nats"


def choices_of(decision: Decision, probabilities: Sequence[float]) -> tuple[Choice, ...]:
    """The legal actions with their probabilities, likeliest first."""
    choices = [
        Choice(word=word, probability=probability, taken=index == decision.reply.action)
        for index, (word, probability) in enumerate(
            zip(decision.observation.legal_actions, probabilities, strict=True)
        )
    ]
    return tuple(sorted(choices, key=lambda choice: -choice.probability))
