import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gflowvlm.errors import UserError
from gflowvlm.trainer import checkpoint


def nothing(folder: Path) -> None:
    """Content of a checkpoint that has none."""


def text(content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_text(content)

    return write


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_a_checkpoint_holds_its_content_and_its_state(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 20, text("w"), {"episodes": 640})
    assert saved == tmp_path / "checkpoints" / "step_000020"
    assert (saved / "deep" / "weights").read_text() == "w"
    assert checkpoint.read_state(saved) == {"step": 20, "episodes": 640}
    assert checkpoint.step_of(saved) == 20
    assert names(tmp_path) == ["step_000020"]


def test_a_write_that_fails_leaves_the_older_checkpoint_the_newest(tmp_path: Path) -> None:
    old = checkpoint.save(tmp_path, 10, nothing, {})

    def full_disk(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device", str(folder / "half"))

    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 20, full_disk, {})
    assert checkpoint.latest_complete(tmp_path) == old
    # the next attempt starts from an empty folder
    new = checkpoint.save(tmp_path, 20, text("whole"), {})
    assert sorted(path.name for path in new.iterdir()) == ["deep", "state.json"]


def test_state_is_written_after_the_content(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        assert folder.name == ".step_000005.partial"
        assert list(folder.iterdir()) == []

    checkpoint.save(tmp_path, 5, write, {})


def test_only_folders_with_a_state_count(tmp_path: Path) -> None:
    newest = checkpoint.save(tmp_path, 7, nothing, {})
    (tmp_path / "checkpoints" / "step_000009").mkdir()
    copy = tmp_path / "checkpoints" / ".step_000010.partial"
    shutil.copytree(newest, copy)
    assert checkpoint.latest_complete(tmp_path) == newest


def test_newest_means_the_highest_number_not_the_last_name(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000):
        checkpoint.save(tmp_path, step, nothing, {})
    newest = checkpoint.latest_complete(tmp_path)
    assert newest is not None
    assert checkpoint.step_of(newest) == 1_000_000


def test_saving_a_step_again_keeps_what_is_there(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 3, text("first"), {})
    assert checkpoint.save(tmp_path, 3, text("second"), {}) == saved
    assert (saved / "deep" / "weights").read_text() == "first"


def test_pruning_keeps_the_newest_and_clears_leftovers(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, nothing, {})
    (tmp_path / "checkpoints" / ".step_000040.partial").mkdir()
    (tmp_path / "checkpoints" / "step_000050").mkdir()  # not complete: must not count as newest
    checkpoint.prune(tmp_path, keep=2)
    assert [path.name for path in checkpoint.complete(tmp_path)] == ["step_000020", "step_000030"]
    assert ".step_000040.partial" not in names(tmp_path)
    checkpoint.prune(tmp_path, keep=1)
    assert [path.name for path in checkpoint.complete(tmp_path)] == ["step_000030"]


def test_a_fresh_run_makes_its_folder(tmp_path: Path) -> None:
    assert checkpoint.prepare_run(tmp_path / "runs" / "a", resume=False) is None
    assert (tmp_path / "runs" / "a").is_dir()


def test_an_existing_run_is_never_trained_into(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, nothing, {})
    with pytest.raises(UserError, match="pass --resume to continue it, or another name="):
        checkpoint.prepare_run(tmp_path, resume=False)
    assert checkpoint.prepare_run(tmp_path, resume=True) == checkpoint.latest_complete(tmp_path)


def test_resuming_needs_a_complete_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run folder"):
        checkpoint.prepare_run(tmp_path / "nowhere", resume=True)
    (tmp_path / "checkpoints" / ".step_000001.partial").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no complete checkpoint"):
        checkpoint.prepare_run(tmp_path, resume=True)


def test_a_damaged_state_names_its_file(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 1, nothing, {})
    (saved / "state.json").write_text('{"step": ')
    with pytest.raises(UserError, match=r"state.json is damaged"):
        checkpoint.read_state(saved)


def test_state_is_plain_json(tmp_path: Path) -> None:
    saved = checkpoint.save(tmp_path, 1, nothing, {"log_z": -1.5})
    assert json.loads((saved / "state.json").read_text()) == {"step": 1, "log_z": -1.5}


def one_step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    parameter.square().sum().backward()
    optimizer.step()


def test_an_optimizer_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    straight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.AdamW([straight], lr=0.1)
    one_step(straight, optimizer)
    resumed = torch.nn.Parameter(straight.detach().clone())
    checkpoint.save_optimizer(optimizer, tmp_path / "optimizer.pt")
    other = torch.optim.AdamW([resumed], lr=0.1)
    checkpoint.load_optimizer(other, tmp_path / "optimizer.pt")
    one_step(straight, optimizer)
    one_step(resumed, other)
    assert torch.equal(straight, resumed)


def test_a_resumed_optimizer_keeps_the_rates_it_was_built_with(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.2)
    one_step(weight, optimizer)
    checkpoint.save_optimizer(optimizer, tmp_path / "optimizer.pt")
    other = torch.optim.AdamW([weight], lr=0.5, weight_decay=0.0)
    checkpoint.load_optimizer(other, tmp_path / "optimizer.pt")
    (group,) = other.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.0)
    assert other.state[weight]["step"] == 1


def test_moments_of_other_parameters_are_refused_in_one_line(tmp_path: Path) -> None:
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    both = torch.optim.AdamW([{"params": [weight]} for weight in weights])
    checkpoint.save_optimizer(both, tmp_path / "optimizer.pt")
    with pytest.raises(UserError, match=r"optimizer\.pt: found other parameters .* objective"):
        checkpoint.load_optimizer(torch.optim.AdamW(weights[:1]), tmp_path / "optimizer.pt")


def test_what_is_left_of_a_deletion_cut_short_is_deleted_too(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, text("w"), {})
    (tmp_path / "checkpoints" / "step_000001" / "state.json").unlink()
    checkpoint.prune(tmp_path, keep=1)
    assert names(tmp_path) == ["step_000003"]
