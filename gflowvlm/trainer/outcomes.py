"""What the episodes of an update amount to."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from gflowvlm.episode import Ending, Episode
from gflowvlm.evaluation import metrics


def outcomes(episodes: Sequence[Episode], log_rewards: Sequence[float]) -> dict[str, float]:
    """What the update's own episodes amount to; training averages, not an evaluation.

    `degenerate_share` is the share of groups whose episodes all have the same log R.
    """
    if not episodes:
        return {}
    values = {
        "reach": metrics.reach(episodes),
        "strict": metrics.strict(episodes),
        "log_reward": sum(log_rewards) / len(log_rewards),
        "length": metrics.mean_length(episodes),
        "invalid_replies": metrics.invalid_replies(episodes),
        "shortened_prompts": metrics.shortened_prompts(episodes),
    }
    rewards = defaultdict(list)
    for episode, log_reward in zip(episodes, log_rewards, strict=True):
        rewards[episode.group].append(log_reward)
    groups = [len(set(group)) == 1 for group in rewards.values() if len(group) > 1]
    if groups:
        values["degenerate_share"] = sum(groups) / len(groups)
    for name, value in (
        ("right_moves", metrics.right_moves(episodes)),
        ("reading", metrics.reading_accuracy(episodes)),
    ):
        if value is not None:
            values[name] = value
    endings = Counter(episode.ending for episode in episodes)
    for ending in (Ending.DONE, Ending.OUT_OF_ROOM):
        if endings[ending]:
            values[str(ending)] = endings[ending] / len(episodes)
    return values
