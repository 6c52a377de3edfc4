"""SFT and DPO losses against TRL's own, on the same log-probs; TRL is no dependency of gflowvlm.

In an environment of its own: `pip install -e . trl && python scripts/check_trl_parity.py`.

TRL's trainers are not run, their loss methods are: a stand-in for the model hands them log-probs,
which also go into this toolkit's losses. Loss and gradient must agree to 1e-6.
"""

import sys
from importlib import import_module
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor

from gflowvlm.baselines.preference import PairLoss
from gflowvlm.baselines.sft import token_loss
from gflowvlm.batch import StepScores

PAIRS, LONGEST, PROMPT = 6, 9, 4
TOLERANCE = 1e-6


def scores_of(log_prob: Tensor, mask: Tensor) -> StepScores:
    """[N, S] log-probs of N replies as this toolkit scores them."""
    whole = torch.where(mask, log_prob, 0.0).sum(1)
    return StepScores(
        thought_log_prob=torch.zeros_like(whole),
        action_log_prob=whole,
        entropy=torch.zeros_like(whole),
        flow=None,
        token_log_prob=log_prob[mask],
        token_decision=mask.nonzero()[:, 0],
    )


def trl_loss(name: str, log_prob: Tensor, inputs: dict[str, Any], **settings: Any) -> Tensor:
    """What a TRL trainer's loss is where the model says these log-probs."""
    trainer = getattr(import_module("trl"), name)
    owner = MagicMock(**settings)
    owner.accelerator.device = torch.device("cpu")
    owner.accelerator.num_processes = 1
    owner.accelerator.gather_for_metrics = owner.accelerator.gather = lambda value: value
    zeros = torch.zeros_like(log_prob)
    said = MagicMock(log_probs=log_prob, label_mask=inputs["mask"])
    said.entropy = said.mean_logits = said.sum_logits = zeros  # these and the next are only logged
    said.is_top1 = zeros.bool()
    given = {name: value for name, value in inputs.items() if name != "mask"}
    method = trainer._compute_loss if hasattr(trainer, "_compute_loss") else trainer.compute_loss
    return method(owner, lambda **_: said, given, False)


def masks(generator: torch.Generator, rows: int) -> Tensor:
    """[rows, LONGEST] bool: replies of unequal lengths after a prompt."""
    length = torch.randint(1, LONGEST - PROMPT + 1, (rows, 1), generator=generator)
    place = torch.arange(LONGEST)[None]
    return (place >= PROMPT) & (place < PROMPT + length)


def gap(ours: Tensor, theirs: Tensor, leaf: Tensor) -> float:
    """Greatest difference of two losses and of their gradients."""
    one, two = (torch.autograd.grad(loss, leaf)[0] for loss in (ours, theirs))
    return max(abs(ours.item() - theirs.item()), (one - two).abs().max().item())


def dpo_gap(generator: torch.Generator, beta: float) -> float:
    """TRL's sigmoid loss; its rows are all preferred replies, then all rejected ones."""
    mask = masks(generator, 2 * PAIRS)
    leaf = -torch.rand(2 * PAIRS, LONGEST, generator=generator, dtype=torch.float64) * 3
    leaf.requires_grad_()
    reference = -torch.rand(2 * PAIRS, generator=generator, dtype=torch.float64) * 5
    log_prob = torch.where(mask, leaf, 0.0)
    whole_mask = torch.nn.functional.pad(mask, (1, 0))  # TRL shifts by one
    theirs = trl_loss(
        "DPOTrainer",
        log_prob,
        {
            "mask": mask,
            "input_ids": torch.zeros_like(whole_mask, dtype=torch.long),
            "attention_mask": torch.ones_like(whole_mask),
            "completion_mask": whole_mask.long(),
            "ref_chosen_logps": reference[:PAIRS],
            "ref_rejected_logps": reference[PAIRS:],
        },
        **{"aux_loss_enabled": False, "ld_alpha": None, "precompute_ref_logps": True},
        **{"f_divergence_type": "reverse_kl", "loss_types": ["sigmoid"], "loss_weights": [1.0]},
        **{"beta": beta, "use_weighting": False, "label_smoothing": 0.0},
    )
    order = torch.arange(2 * PAIRS).view(2, PAIRS).T.flatten()
    loss = PairLoss(
        log_mu=reference[order].view(-1, 2),
        beta=beta,
        label_smoothing=0.0,
        sft_weight=0.0,
        thought_weight=1.0,
    )
    ours = loss(scores_of(leaf[order], mask[order]), slice(0, PAIRS)).loss
    return gap(ours, theirs, leaf)


def sft_gap(generator: torch.Generator) -> float:
    """TRL's mean over tokens."""
    mask = masks(generator, PAIRS)
    leaf = -torch.rand(PAIRS, LONGEST, generator=generator, dtype=torch.float64) * 3
    leaf.requires_grad_()
    inputs = {"mask": mask, "labels": mask.long(), "attention_mask": torch.ones_like(mask)}
    settings = {"aux_loss_enabled": False, "compute_loss_func": None, "label_smoother": None}
    theirs = trl_loss("SFTTrainer", torch.where(mask, leaf, 0.0), inputs, **settings)
    ours = token_loss(scores_of(leaf, mask), slice(0, PAIRS)).loss
    return gap(ours, theirs, leaf)


def main() -> int:
    """Print the gaps; 1 if one is too wide."""
    trl: Any = import_module("trl")

    generator = torch.Generator().manual_seed(0)
    gaps = {"sft": sft_gap(generator)}
    gaps |= {f"dpo, beta {beta}": dpo_gap(generator, beta) for beta in (0.1, 1.0)}
    print(f"trl {trl.__version__}: greatest difference of loss and gradient")
    for name, value in gaps.items():
        print(f"  {name:14} {value:.1e}")
    return int(max(gaps.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
