"""SFT, DPO and GRPO losses against TRL's own, on the same log-probs; TRL is no dependency.

In an environment of its own: `pip install -e . trl && python scripts/check_trl_parity.py`.

TRL's trainers are not run, their loss methods are: a stand-in for the model hands them log-probs,
which also go into this toolkit's losses. Loss and gradient must agree to 1e-6.
"""

import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import MagicMock

import torch
from torch import Tensor

from gflowvlm.baselines.experience import Estimate, Experience, Lesson
from gflowvlm.baselines.grpo import GroupRelativePolicy
from gflowvlm.baselines.preference import PairLoss
from gflowvlm.baselines.sft import token_loss
from gflowvlm.batch import StepScores

PAIRS, LONGEST, PROMPT = 6, 9, 4
TOLERANCE = 1e-6
CLIP = 0.2


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
    arguments = (given,) if name == "GRPOTrainer" else (given, False)
    return method(owner, lambda **_: said, *arguments)


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
        acts=torch.ones(PAIRS, dtype=torch.bool),
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


def taught(old: Tensor, reference: Tensor, mask: Tensor, advantage: Tensor) -> list[Lesson]:
    """Games of one reply each, from [N, S] log-probs and [N] advantages."""
    nothing: Any = None
    return [
        Lesson(
            experience=Experience(
                episode=nothing,
                rows=(),
                log_reward=0.0,
                reward=each[None],
                log_prob=old[row][mask[row]].sum()[None],
                log_ref=reference[row][mask[row]].sum()[None],
                token_log_prob=old[row][mask[row]],
                token_log_ref=reference[row][mask[row]],
            ),
            estimate=Estimate(advantage=each[None]),
        )
        for row, each in enumerate(advantage)
    ]


def grpo_gap(
    generator: torch.Generator,
    ratio: Literal["token", "sequence"],
    average: Literal["tokens", "episodes"],
    kl: float,
) -> float:
    """TRL's clipped surrogate, its divergence in the loss; far enough from the old for the clip."""
    mask = masks(generator, PAIRS)
    leaf = -torch.rand(PAIRS, LONGEST, generator=generator, dtype=torch.float64) * 3
    shift = torch.randn(2, PAIRS, LONGEST, generator=generator, dtype=torch.float64) * 0.5
    old, reference = leaf + shift
    leaf.requires_grad_()
    advantage = torch.randn(PAIRS, generator=generator, dtype=torch.float64)
    prompt = torch.ones(PAIRS, 1, dtype=torch.long)
    said = leaf, torch.zeros_like(leaf), None
    theirs = trl_loss(
        "GRPOTrainer",
        leaf,
        {
            "mask": mask,
            **{"prompt_ids": prompt, "prompt_mask": prompt, "advantages": advantage},
            **{"completion_ids": mask.long(), "completion_mask": mask.long()},
            **{"old_per_token_logps": old, "ref_per_token_logps": reference},
        },
        _get_per_token_logps_and_entropies=lambda *_, **__: said,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False),
        **{"loss_type": "grpo" if average == "episodes" else "bnpo", "beta": kl},
        **{"importance_sampling_level": ratio, "epsilon_low": CLIP, "epsilon_high": CLIP},
        **{"top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "use_vllm": False},
        **{"aux_loss_enabled": False, "_entropy_bonus_enabled": False},
        current_gradient_accumulation_steps=1,
    )
    method = GroupRelativePolicy(
        clip_range=CLIP,
        ratio=ratio,
        average=average,
        scaled=False,
        kl_in_reward=kl == 0,
        step_weight=0.0,
        gamma=1.0,
    )
    lessons = taught(old, reference, mask, advantage)
    return gap(method.loss(scores_of(leaf, mask), lessons, kl).loss, theirs, leaf)


def main() -> int:
    """Print the gaps; 1 if one is too wide."""
    trl: Any = import_module("trl")

    generator = torch.Generator().manual_seed(0)
    gaps = {"sft": sft_gap(generator)}
    gaps |= {f"dpo, beta {beta}": dpo_gap(generator, beta) for beta in (0.1, 1.0)}
    gaps |= {
        f"grpo, {ratio}, {average}, kl {kl}": grpo_gap(generator, ratio, average, kl)
        for ratio in ("token", "sequence")
        for average in ("tokens", "episodes")
        for kl in (0.0, 0.04)
    }
    print(f"trl {trl.__version__}: greatest difference of loss and gradient")
    for name, value in gaps.items():
        print(f"  {name:32} {value:.1e}")
    return int(max(gaps.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
