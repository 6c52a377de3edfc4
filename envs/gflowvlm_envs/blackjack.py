"""Blackjack: take another card or stand, against a dealer who plays by a fixed rule."""

from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gflowvlm_envs import drawing
from gflowvlm_envs.blackjack_rules import BUST, VALUE, Rules, total_of, with_card
from gflowvlm_envs.blackjack_table import draw_table
from gflowvlm_envs.contract import (
    ExpertMove,
    Outcome,
    StepInfo,
    Verdict,
    check_action,
    sample_outcome,
    with_mistakes,
)
from gflowvlm_envs.decks import check_face

ACTIONS = ("hit", "stand")
HIT, STAND = 0, 1
MOST_DECKS = 8


class BlackjackState(NamedTuple):
    """All that decides how a game goes on, how it is judged and what it looks like."""

    dealer: str  # rank of the card that the dealer shows
    hand: tuple[str, ...]  # the player's ranks, aces first
    dealer_total: int = 0  # 17 to 21, or BUST, once the player stands; 0 before


class Blackjack(gymnasium.Env[NDArray[np.uint8], int | np.int64]):
    """Have more than the dealer, and at most 21.

    ## Description
    The player holds two cards and sees one of the dealer's two. Court cards count ten, an ace
    eleven where the total stays at most 21, else one. The player takes cards ("hit") until they
    "stand" or have over 21, which loses at once. Then the dealer draws to 17 or more; the higher
    total wins, equal totals are a draw. An ace and a ten at once are 21 like any other (Gymnasium's
    `natural=False`); there is no betting, doubling or splitting.

    ## Action Space
    `Discrete(2)`, an index into `info["legal_actions"]`, at every step `("hit", "stand")`.

    ## Observation Space
    `Box(0, 255, (image_size, image_size, 3), uint8)`: above, the dealer's card beside the hidden
    one; below, the player's, the smaller the more they are. Once the player stands, the dealer's
    total (or "bust") takes the place of the hidden card.

    A hand lies in order of rank, so that what is seen does not tell in which order cards came:
    that decides nothing, and leaves few enough states (31,000 with infinitely many decks) to
    compute the probability of winning of any policy. For the same reason suits are not drawn but
    go by a card's place.

    `info["facts"]` holds `dealer card`, `my cards` and `my total` ("12", "soft 17"); after "stand"
    `info["success_chance"]` is the probability that it wins, whatever the dealer drew.

    ## Rewards
    At the end +1 for a win, 0 for a draw, -1 for a loss. Success is a win.

    ## Starting State
    Three cards of the deck. Or `reset(options={"start": state})`, one out of `starts()`.

    ## Episode End
    Terminates when the player stands or has over 21. Never truncates.

    ## Arguments
    - `dealer_hits_soft_17`: whether the dealer takes a card on 17 with an ace that counts eleven.
    - `decks`: decks of 52 cards that are drawn from without replacement, at most 8; None for
      infinitely many.
    - `pictures`: whether cards of value ten are 10, J, Q or K; otherwise all of them are "10".
    - `announced`: whether the step's text says what the cards add up to, "You have 12 against 10.",
      for policies that act without a thought in which to add.
    - `face`: the look of the deck, one of `decks.FACES`.
    - `image_size`: side of the image in pixels, at least 64.
    - `render_mode`: None or `rgb_array`.

    `splits`: `id`; `ood`, where the dealer hits soft 17 and the deck looks different; and, one
    change at a time, `soft_17`, `one_deck`, `pictures`, `tinted`.

    ## Version History
    - v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 2}  # pyright: ignore[reportIncompatibleVariableOverride]
    splits: ClassVar[dict[str, dict[str, Any]]] = {
        "id": {},
        "ood": {"dealer_hits_soft_17": True, "face": "tinted"},
        "soft_17": {"dealer_hits_soft_17": True},
        "one_deck": {"decks": 1},
        "pictures": {"pictures": True},
        "tinted": {"face": "tinted"},
    }

    def __init__(
        self,
        dealer_hits_soft_17: bool = False,
        decks: int | None = None,
        pictures: bool = False,
        announced: bool = False,
        face: str = "plain",
        image_size: int = 64,
        render_mode: str | None = None,
    ) -> None:
        """See the class for the arguments."""
        if decks is not None and not 1 <= decks <= MOST_DECKS:
            raise ValueError(
                f"found decks = {decks}, expected 1 to {MOST_DECKS}, or None for infinitely many: "
                "change decks"
            )
        check_face(face)
        if image_size < 64:
            raise ValueError(f"found image_size = {image_size}, expected at least 64: raise it")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(
                f"found render_mode {render_mode!r}, expected None or 'rgb_array': change it"
            )
        self.rules = Rules(decks=decks, hits_soft_17=dealer_hits_soft_17, court=pictures)
        self.announced = announced
        self.face = face
        self.image_size = image_size
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.observation_space = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self._starts: list[BlackjackState] = []
        self._values: dict[BlackjackState, tuple[float, float]] = {}
        self._state: BlackjackState | None = None

    # -- dynamics -----------------------------------------------------------------------------

    def starts(self) -> list[BlackjackState]:
        """The dealer's card and two of the player's; the likelier, the more often in the list.

        With infinitely many decks 2,197 entries of which 550 differ; with one, 16,575.
        """
        if not self._starts:
            dealt = self.rules.dealt()
            self._starts = [BlackjackState(*d) for d, count in dealt.items() for _ in range(count)]
        return self._starts

    def legal(self, state: BlackjackState) -> tuple[str, ...]:
        """Both actions, always."""
        return ACTIONS

    def outcomes(self, state: BlackjackState, action: int) -> list[Outcome]:
        """A card for each rank that is left, or a total for each that the dealer may end with."""
        dealer, hand, _ = state
        if action == HIT:
            return [
                _drawn(dealer, with_card(hand, rank), probability)
                for rank, probability in self.rules.next_card((dealer, *hand))
            ]
        total, _ = total_of(hand)
        return [
            Outcome(probability, BlackjackState(dealer, hand, final), _reward(total, final), True)
            for final, probability in self.rules.dealer_law(dealer, hand).items()
        ]

    def judge(self, state: BlackjackState) -> Verdict:
        """Won or not; a draw is no success, and its return is not positive."""
        won = state.dealer_total > 0 and _reward(total_of(state.hand)[0], state.dealer_total) > 0
        return Verdict(reach=won, strict=won)

    def future(self, state: BlackjackState) -> Hashable:
        """What is left of a state that matters: the cards' values, or with no end of decks a total.

        See `contract.Mergeable`.
        """
        total, soft = total_of(state.hand)
        if total > 21 or state.dealer_total > 0:
            return -1.0 if total > 21 else _reward(total, state.dealer_total)
        values = sorted(VALUE[rank] for rank in state.hand)
        return VALUE[state.dealer], (total, soft) if self.rules.decks is None else tuple(values)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Deal, or take the start in `options["start"]`."""
        super().reset(seed=seed)
        starts = self.starts()
        if options is not None and "start" in options:
            if options["start"] not in starts:
                raise ValueError(f"found start {options['start']}, expected one out of starts()")
            state = BlackjackState(*options["start"])
        else:
            state = starts[int(self.np_random.integers(len(starts)))]
        self._state = state
        return self.view(state, state)

    def step(
        self, action: int | np.int64
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Take a card or stand; `truncated` is always False."""
        state = self._playing()
        chosen = check_action(action, ACTIONS)
        outcome = sample_outcome(self.outcomes(state, chosen), self.np_random)
        self._state = outcome.state
        observation, info = self.view(state, outcome.state)
        return observation, outcome.reward, outcome.ended, False, info

    def expert(self, mistakes: float) -> ExpertMove:
        """The move that wins most often; a mistake is made in calling the hand low or high."""
        state = self._playing()
        hit, stand = self._chances(state)
        action = with_mistakes(int(stand >= hit), ACTIONS, mistakes, self.np_random)
        judged = "low" if action == HIT else "high"
        return ExpertMove(f"{_said(state.hand)} against {state.dealer} is {judged}", action)

    def view(
        self, start: BlackjackState, state: BlackjackState
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Image and info of a state; the start plays no part in them."""
        return self._draw(state), self._info(state)

    # -- wording ------------------------------------------------------------------------------

    def _info(self, state: BlackjackState) -> dict[str, Any]:
        rules = self.rules
        deck = "" if rules.decks is None else f" from {rules.decks * 52} cards"
        soft = ", also on soft 17" if rules.hits_soft_17 else ""
        against = f"{_said(state.hand)} against {state.dealer}"
        info: StepInfo = {
            "task": (
                f'Blackjack: beat the dealer\'s total. "hit" takes a card{deck}, and over 21 '
                f'loses; "stand" ends the game after the dealer, who draws below 17{soft}.'
            ),
            "legal_actions": ACTIONS,
            "facts": {
                "dealer card": state.dealer,
                "my cards": " ".join(state.hand),
                "my total": _said(state.hand),
            },
            "text": f"You have {against}." if self.announced else "",
            "success": self.judge(state).reach,
            "extra_steps": 0,
        }
        if state.dealer_total:
            ends = self.outcomes(state._replace(dealer_total=0), STAND)
            info["success_chance"] = sum(e.probability for e in ends if self.judge(e.state).reach)
        return dict(info)

    # -- drawing ------------------------------------------------------------------------------

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The present observation, or None without a render mode."""
        return None if self.render_mode is None else self._draw(self._playing())

    def _draw(self, state: BlackjackState) -> NDArray[np.uint8]:
        final = state.dealer_total
        beside = None if final == 0 else "bust" if final == BUST else str(final)
        table = draw_table(state.dealer, state.hand, beside, self.face, self.image_size)
        return drawing.pixels(table)

    # -- the best play ------------------------------------------------------------------------

    def _chances(self, state: BlackjackState) -> tuple[float, float]:
        """Probability to win after "hit" and after "stand", with the best play from there."""
        if state not in self._values:
            hit, stand = (
                sum(o.probability * self._chance(o) for o in self.outcomes(state, action))
                for action in range(len(ACTIONS))
            )
            self._values[state] = hit, stand
        return self._values[state]

    def _chance(self, outcome: Outcome) -> float:
        if outcome.ended:
            return float(self.judge(outcome.state).reach)
        return max(self._chances(outcome.state))

    def _playing(self) -> BlackjackState:
        if self._state is None:
            raise ValueError("found no game in progress, expected one: call reset() first")
        return self._state


def _drawn(dealer: str, hand: tuple[str, ...], probability: float) -> Outcome:
    bust = total_of(hand)[0] > 21
    return Outcome(probability, BlackjackState(dealer, hand), -1.0 if bust else 0.0, bust)


def _reward(total: int, dealer_total: int) -> float:
    """Of a hand of at most 21 against what the dealer ends with."""
    if dealer_total == BUST or total > dealer_total:
        return 1.0
    return 0.0 if total == dealer_total else -1.0


def _said(hand: tuple[str, ...]) -> str:
    total, soft = total_of(hand)
    return f"soft {total}" if soft else str(total)
