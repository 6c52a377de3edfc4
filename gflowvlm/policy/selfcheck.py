"""Is a model exact here? What every run asks before its first update."""

import numpy as np
import torch
from torch import nn

from gflowvlm.batch import Row
from gflowvlm.episode import Observation, Segment
from gflowvlm.errors import UserError
from gflowvlm.policy.backbone import Backbone
from gflowvlm.policy.base import EpisodeKey, Policy
from gflowvlm.policy.families import FAMILIES
from gflowvlm.policy.language_head import LanguageHead
from gflowvlm.policy.scoring import pad_rows

# Nats a token. A wrong position or mask moves log-probs by nats, low precision by some tenths.
TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-2}
COARSE_TOLERANCE = 0.5


def require_exactness(
    policy: Policy, backbone: Backbone, language: LanguageHead, model_type: str
) -> None:
    """Play two short games and compare sampled with scored; unknown families also with their own.

    Raises:
        UserError: the model is not exact here.
    """
    gap, row = rescoring_gap(policy)
    remedy = "try policy.attention: eager or policy.dtype: float32"
    if not backbone.family.known:
        gap = max(gap, forward_gap(row, backbone, language))
        remedy = f"nobody has measured this family, use one of {', '.join(FAMILIES)}"
    allowed = TOLERANCE.get(backbone.model.dtype, COARSE_TOLERANCE)
    if not gap <= allowed:
        raise UserError(
            f"model family {model_type!r} fails its self-check: found sampled and scored log-probs "
            f"{gap:.2g} nats apart, expected at most {allowed:g}; {remedy}"
        )


@torch.no_grad()
def rescoring_gap(policy: Policy) -> tuple[float, Row]:
    """Largest |sampled - scored| log-prob of two games of unequal length, and the last row."""
    random = np.random.default_rng(0)
    session = policy.session([EpisodeKey(0, 0), EpisodeKey(0, 1)])
    sampled: dict[int, list[float]] = {0: [], 1: []}
    still = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for turn, slots in enumerate(((0, 1), (0, 1), (1,))):
        new = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        seen = {
            slot: Observation(
                image=still if slot == 1 and turn < 2 else new,  # so layout news leaves one out
                task="Look" + " here" * (3 * slot),
                text="again" if slot == 1 and turn == 1 else "",
                legal_actions=("left", "right"),
            )
            for slot in slots
        }
        for slot, reply in session.reply(seen).items():
            pairs = zip(reply.log_probs, reply.segment, strict=True)
            sampled[slot] += [value for value, kind in pairs if kind != Segment.CONTEXT]
    rows = [*session.rows(0), *session.rows(1)]
    scored = policy.score(rows).token_log_prob.cpu()
    gap = (torch.tensor(sampled[0] + sampled[1]) - scored).abs().max()
    return float(gap), rows[-1]


@torch.no_grad()
def forward_gap(row: Row, backbone: Backbone, language: LanguageHead) -> float:
    """Largest difference of log-probs to the model's own forward pass, left to its own devices.

    Ours reads padding on the right as scoring does, unmasked, which a causal model cannot see.
    """
    ids, mask, types = pad_rows([row], backbone)
    vision = backbone.merge(row.vision)
    start = torch.zeros(1, dtype=torch.long, device=backbone.device)
    length, more = ids.shape[1], ids.shape[1] // 4 + 1
    ids_wide = nn.functional.pad(ids, (0, more), value=backbone.pad_id)
    mask_wide = nn.functional.pad(mask, (0, more), value=1)
    types_wide = None if types is None else nn.functional.pad(types, (0, more))
    hidden, _ = backbone.hidden(ids_wide, mask_wide, start, types=types_wide, vision=vision)
    ours = (language.raw_logits(hidden[0, :length]) * language.temperature).log_softmax(-1)
    arguments = {} if types is None else {"mm_token_type_ids": types}
    output = backbone.model(input_ids=ids, attention_mask=mask, **vision, **arguments)
    return float((ours - output.logits[0].float().log_softmax(-1)).abs().max())
