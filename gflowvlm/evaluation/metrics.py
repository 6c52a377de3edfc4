"""What played games amount to: pure functions of episodes."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import comb, sqrt

from gflowvlm.episode import Decision, Ending, Episode, Segment

_Z_95 = 1.959964  # two-sided 95 % point of the normal law


def reach(episodes: Sequence[Episode]) -> float:
    """Share of episodes that reached their goal."""
    return _share(episode.success for episode in _some(episodes))


def strict(episodes: Sequence[Episode]) -> float:
    """Share of episodes that reached their goal with a positive return."""
    return _share(episode.strict for episode in _some(episodes))


def wilson(successes: int, trials: int, z: float = _Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); `z` = 1.96 gives 95 % coverage.

    Raises:
        ValueError: unless 0 <= successes <= trials and trials > 0.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(
            f"found {successes} successes in {trials} trials, expected 0 <= successes <= trials "
            "and at least one trial: play more episodes"
        )
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    shrink = 1 + z * z / trials
    return max(0.0, (centre - spread) / shrink), min(1.0, (centre + spread) / shrink)


def right_moves(episodes: Sequence[Episode]) -> float | None:
    """Share of moves that left the count of extra steps as it was; None where nothing moved.

    An invalid reply is no move. None also where the environment knows no shortest way, so that no
    move could be wrong.
    """
    if not any(d.extra_steps or d.distance is not None for e in episodes for d in e.decisions):
        return None
    right = []
    for episode in episodes:
        before = 0
        for decision in episode.decisions:
            if decision.reply.action is not None:
                right.append(decision.extra_steps <= before)
            before = decision.extra_steps
    return _share(right) if right else None


def action_words(episode: Episode) -> Hashable:
    """What tells one solution from another, unless the environment knows better."""
    return episode.actions


def diversity(
    episodes: Sequence[Episode], solution: Callable[[Episode], Hashable] = action_words
) -> float | None:
    """Div@N: different solutions among a start's successful episodes, at least 1.

    The mean is over starts (groups) with at least one success, None where no start has one. N is
    the number of episodes per group; the figure grows with it, so say it beside the figure.
    """
    found: dict[int, set[Hashable]] = defaultdict(set)
    for episode in episodes:
        if episode.success:
            found[episode.group].add(solution(episode))
    return sum(map(len, found.values())) / len(found) if found else None


def path_ratio(episodes: Sequence[Episode], experts: Sequence[Episode]) -> float | None:
    """Actions of a won game over those of the expert's game from the same start, mean over games.

    1 is as short as the expert's. A start that the expert did not win counts nothing; None where
    no game is left.
    """
    expert = {each.group: len(each.actions) for each in experts if each.success}
    ratios = [
        len(episode.actions) / expert[episode.group]
        for episode in episodes
        if episode.success and expert.get(episode.group)
    ]
    return sum(ratios) / len(ratios) if ratios else None


def cut(episodes: Sequence[Episode]) -> int:
    """Games that neither the environment nor the policy has ended."""
    return sum(e.ending in (Ending.TRUNCATED, Ending.OUT_OF_ROOM) for e in episodes)


def pass_at(episodes: Sequence[Episode], k: int) -> float:
    """pass@k: how likely one of k games from a start succeeds, mean over starts (groups).

    The unbiased estimate of Chen et al. 2021, eq. 1: of a start's n games c succeeded, and
    1 - C(n-c, k) / C(n, k) is the share of its sets of k games that hold a success.

    Raises:
        ValueError: a start has fewer than k games.
    """
    played: dict[int, list[bool]] = defaultdict(list)
    for episode in _some(episodes):
        played[episode.group].append(episode.success)
    fewest = min(map(len, played.values()))
    if not 1 <= k <= fewest:
        raise ValueError(
            f"found k = {k} and a start with {fewest} games, expected k from 1 to as many: play "
            "more games from each start"
        )
    passed = [1 - comb(len(s) - sum(s), k) / comb(len(s), k) for s in played.values()]
    return sum(passed) / len(passed)


def reply_entropy(episodes: Sequence[Episode]) -> float:
    """Nats a reply: mean of -log p(reply) over a start's replies, then over starts (groups).

    An unbiased estimate, for each start, of the entropy of the sampled replies where the policy
    takes its games; at the temperature they were played at.
    """
    surprise: dict[int, list[float]] = defaultdict(list)
    for episode in _some(episodes):
        surprise[episode.group] += [-sum(d.reply.log_probs) for d in episode.decisions]
    return sum(sum(each) / len(each) for each in surprise.values()) / len(surprise)


def invalid_replies(episodes: Sequence[Episode]) -> float:
    """Share of replies that name no legal action."""
    return _share(d.reply.problem is not None for d in _decisions(_some(episodes)))


def shortened_prompts(episodes: Sequence[Episode]) -> float:
    """Share of replies to a prompt that left earlier steps out (`policy.history_length`)."""
    return _share(d.reply.steps_left_out > 0 for d in _decisions(_some(episodes)))


def mean_length(episodes: Sequence[Episode]) -> float:
    """Decisions per episode."""
    return sum(len(episode.decisions) for episode in _some(episodes)) / len(episodes)


def mean_reply_tokens(episodes: Sequence[Episode]) -> float:
    """Sampled tokens per reply; forced tokens do not count."""
    sampled = [
        sum(segment is not Segment.CONTEXT for segment in decision.reply.segment)
        for decision in _decisions(_some(episodes))
    ]
    return sum(sampled) / len(sampled)


def reading_accuracy(episodes: Sequence[Episode]) -> float | None:
    """Share of replies that state every fact rightly; None where no reply states any."""
    asked = [d for d in _decisions(episodes) if d.facts and not d.reply.done]
    if not any(d.reply.fields for d in asked):
        return None
    return _share(
        all(d.reply.fields.get(name, "").strip() == truth for name, truth in d.facts.items())
        for d in asked
    )


def _some(episodes: Sequence[Episode]) -> Sequence[Episode]:
    if not episodes:
        raise ValueError("found no episodes, expected at least one: play some before measuring")
    return episodes


def _decisions(episodes: Sequence[Episode]) -> Iterator[Decision]:
    for episode in episodes:
        yield from episode.decisions


def _share(marks: Iterator[bool] | Sequence[bool]) -> float:
    counted = list(marks)
    return sum(counted) / len(counted)
