"""Baselines that learn from replies kept or compared: rejection sampling, DPO, self-play."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from gflowvlm.config.section import Section


class RejectionSampling(Section):
    """Supervised fine-tuning on the policy's own successes, played anew every round.

    Aims at `p_ref * 1[success]`, whatever the number of rounds (STaR, Zelikman et al. 2022; RFT,
    Yuan et al. 2023).
    """

    type: Literal["rejection_sft"] = "rejection_sft"
    round_updates: int = Field(default=10, ge=1)
    """Updates in a round. It begins with the games of all of them, `groups_per_update * group_size`
    for each, played by the policy as it is; each update then imitates as many of those kept."""
    min_log_reward: float | None = Field(default=None, allow_inf_nan=False)
    """Least log R of a game that is kept, nats, besides its success; null asks for success alone.
    With a cost for extra steps, log R of the shortest way keeps nothing longer."""
    keep: Literal["all", "distinct"] = "all"
    """`distinct` keeps the newest game of each sequence of actions from a start: every solution
    found counts once, however often it was played. That spreads, and no longer aims at p_ref."""
    equal_starts: bool = False
    """Whether every start weighs the same, however many of its games were kept; else a start that
    is won more often is imitated more often."""
    rounds_kept: int = Field(default=1, ge=1)
    """Rounds whose games are imitated, the newest; older ones are of older policies."""


class DirectPreference(Section):
    """DPO on pairs of replies to one history (Rafailov et al. 2023).

    Rejected replies are made as in PORT (Lahlou et al. 2024).
    """

    type: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """Weight of the divergence from the reference."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Probability that a pair is the wrong way round (conservative DPO)."""
    sft_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the preferred reply's negative log-likelihood, nats a token, added to the loss; DPO
    alone lets its probability fall as long as the rejected one's falls more. Its action counts
    here, also where it is left out of the comparison."""
    chosen: Literal["expert", "own"] = "expert"
    """Whose replies are preferred: the environment's expert's, or those of the policy's own
    successes, played anew every round as in rejection_sft."""
    episodes: int = Field(default=300, ge=1)
    """Games that the expert plays, where it is the one preferred."""
    rejected: Literal["digits", "weak"] = "digits"
    """`digits` redraws the digits of what the preferred reply states and thinks, its action left
    out of the comparison; `weak` takes what the bare base model states and thinks there, its
    adapter off, in the preferred reply's format. What has no digits, another format, or differs in
    nothing makes no pair."""
    verify: bool = False
    """Whether corrupted digits that still say nothing false make no pair."""
    data: Path | None = Field(default=None, validate_default=False)
    """Stored pairs in place of both: a folder written by `Dataset.save_to_disk()` with TRL's
    columns `prompt`, `chosen`, `rejected` (messages) and `images`. Answers count whole."""
    reference: Literal["start", "round"] = "start"
    """The policy that training started from, or the one that began the round."""
    round_updates: int = Field(default=20, ge=1)
    """Updates in a round."""

    @model_validator(mode="after")
    def _only_corrupted_digits_are_verified(self) -> "DirectPreference":
        if self.verify and self.rejected != "digits":
            raise ValueError(
                f"found verify = true with rejected = {self.rejected}, expected digits, whose "
                "truth can be checked: set verify to false or rejected to digits"
            )
        return self

    @model_validator(mode="after")
    def _stored_pairs_are_whole(self) -> "DirectPreference":
        defaults = DirectPreference.model_construct()
        asked = [n for n in ("chosen", "rejected") if getattr(self, n) != getattr(defaults, n)]
        if self.data is not None and asked:
            raise ValueError(
                f"found data together with {' and '.join(asked)}, but stored pairs have both their "
                "replies: leave one of them out"
            )
        return self


class SelfPlay(Section):
    """SPIN with a pull to the start policy and a memory (Chen et al. 2024, Alami et al. 2024).

    The expert's replies are preferred to those of opponents, which are the policy's own iterates at
    the beginnings of the last rounds. Learns from demonstrations alone: no reward is used.

    How far five outcomes are from the demonstrations after 60 rounds, each solved to its end; KL in
    nats, median of 20 random laws:

        rejected from       iterate   mixture   mixture   mixture   mixture
        history                   1         2         8      null         1
        alpha                     0         0         0         0       0.3
        beta = 0.1         diverges  diverges         2     4e-17  diverges
        beta = 0.3         diverges  diverges     5e-06     2e-10  diverges
        beta = 0.45        diverges     5e-13     1e-09     3e-08     0.019
        beta = 0.6            7e-17     4e-17     3e-14     2e-07     0.009
        beta = 1                  0         0         0         0         0
        beta = 2                  0     3e-17     6e-09     0.003     0.029

    SPIN's usual 0.1 lives on rounds that end early. Rejected replies of the newest iterate while
    the reference is a longer mixture diverge for every beta below 1.
    """

    type: Literal["spin"] = "spin"
    beta: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Weight of the divergence from the opponent, the paper's lambda."""
    alpha: float = Field(default=0.0, ge=0, le=1)
    """Weight of the start policy in the reference `opponent^(1-alpha) * start^alpha`; 0 is SPIN, 1
    is DPO against the start. Above 0 the end is drawn to the start, but at beta = 1."""
    history: int | None = Field(default=1, ge=1)
    """Newest iterates that the opponent mixes evenly; null for all of the run (fictitious play)."""
    rejected_from: Literal["iterate", "mixture"] = "mixture"
    """Who says the rejected replies: the newest iterate, or the very mixture that is the reference.
    They differ where alpha is above 0 or history above 1; see the table above."""
    candidates: int = Field(default=8, ge=1)
    """Replies of which one is drawn by its weight where the mixture has a share of the start policy
    and cannot be sampled by itself; the more, the nearer to its law."""
    episodes: int = Field(default=300, ge=1)
    """Games that the expert plays."""
    mistakes: float = Field(default=0.0, ge=0, le=1)
    """Share of the expert's moves replaced by a uniformly drawn wrong one, thought and action."""
    round_updates: int = Field(default=20, ge=1)
    """Updates in a round, at whose beginning the opponent takes in the policy as it is."""


PreferenceConfig = RejectionSampling | DirectPreference | SelfPlay
"""Objectives that are no balance and have no flow."""
