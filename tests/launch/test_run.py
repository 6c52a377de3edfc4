"""The verbs as a user runs them, on the embedded model: train, stop, resume, evaluate, load."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gflowvlm.cli import main
from gflowvlm.config.stored import load_stored
from gflowvlm.trainer.checkpoint import complete
from gflowvlm.trainer.tracking import read_metrics

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "configs/number_line/subtb.yaml")
SMALL = [
    "trainer.groups_per_update=2",
    "trainer.group_size=2",
    "trainer.checkpoint_every=2",
    "trainer.schedule=constant",
    "trainer.warmup_updates=0",
    "evaluation.splits=[id]",
    "evaluation.episodes=4",
    "evaluation.samples_per_start=2",
    "evaluation.at_start=false",
]


def train(output: Path, *more: str) -> int:
    return main(["train", RECIPE, f"output={output}", "name=run", *SMALL, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs")
    assert train(output, "trainer.max_updates=4") == 0
    return output / "run"


def test_a_run_leaves_what_the_readme_promises(finished: Path) -> None:
    present = {path.name for path in finished.iterdir()}
    assert {"adapter", "checkpoints", "config.json", "evaluation.json", "metrics.jsonl"} <= present
    steps = [line["step"] for line in read_metrics(finished)]
    assert steps == [1, 2, 3, 4]
    assert max(line["rescore_gap"] for line in read_metrics(finished)) < 1e-4


def test_plain_peft_loads_the_adapter_without_this_toolkit(finished: Path) -> None:
    code = (
        "import sys; from peft import PeftModel;"
        "from transformers import AutoModelForImageTextToText;"
        "base = AutoModelForImageTextToText.from_pretrained(sys.argv[1]);"
        "model = PeftModel.from_pretrained(base, sys.argv[2]);"
        "assert 'gflowvlm' not in sys.modules;"
        "print(sum('lora' in name for name, _ in model.named_parameters()))"
    )
    base = str(ROOT / "gflowvlm/pocket/model")
    done = subprocess.run(
        [sys.executable, "-c", code, base, str(finished / "adapter")],
        capture_output=True,
        text=True,
        check=True,
        cwd=finished,
    )
    assert int(done.stdout) == 56  # 4 layers x 7 linears x 2 factors
    assert (finished / "adapter" / "heads.safetensors").is_file()


def test_a_resumed_run_ends_like_an_uninterrupted_one(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, "trainer.max_updates=2") == 0
    assert train(tmp_path, "trainer.max_updates=4", "--resume") == 0
    whole, parts = read_metrics(finished), read_metrics(tmp_path / "run")
    for name in ("loss", "log_reward", "gradient_norm"):
        assert [m[name] for m in parts] == pytest.approx([m[name] for m in whole], rel=1e-4)


def test_a_copied_run_goes_on_where_it_lies_and_a_refusal_leaves_it_as_it_was(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy (1)"
    shutil.copytree(finished, copy)
    before = (copy / "config.json").read_bytes()
    resume = ["train", str(copy), "--resume"]
    assert main([*resume, "objective={type: var_tb}"]) == 2
    assert "found other parameters than this run trains" in capsys.readouterr().err
    assert main([*resume, "name=elsewhere"]) == 2
    assert (copy / "config.json").read_bytes() == before
    more = ["trainer.max_updates=5", "trainer.head_learning_rate=1.0e-5"]
    assert main([*resume, *more, "evaluation.at_end=false"]) == 0
    assert [len(read_metrics(each)) for each in (finished, copy)] == [4, 5]
    assert load_stored(copy).run_dir == copy.resolve()
    stored = torch.load(complete(copy)[-1] / "optimizer.pt", weights_only=True)
    assert 1e-5 in [group["lr"] for group in stored["param_groups"]]


OFF_POLICY = [
    "objective={type: var_tb}",
    "replay.share=0.3",
    "expert.share=0.2",
    "exploration.temperature={start: 1.5, end: 1, over: 3, shape: cosine}",
    "beta={start: 0.5, end: 1, over: 4}",
    "evaluation.at_end=false",
]


def test_a_resumed_run_replays_what_the_uninterrupted_one_does(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, *OFF_POLICY, "trainer.max_updates=4") == 0
    assert train(parts, *OFF_POLICY, "trainer.max_updates=2") == 0
    assert train(parts, *OFF_POLICY, "trainer.max_updates=4", "--resume") == 0
    lines = [read_metrics(folder / "run") for folder in (whole, parts)]
    for name in ("loss", "log_reward", "replay/size", "replay/solutions", "expert/share"):
        one, other = ([line[name] for line in each] for each in lines)
        assert one == pytest.approx(other, rel=1e-4), name
    last = lines[0][-1]
    assert 0 < last["replay/share"] <= 0.3
    assert last["rescore_gap"] < 1e-4  # exploration is over, so sampled and scored agree again
    assert "rescore_gap" not in lines[0][0]
    assert lines[0][0]["behaviour_kl"] != 0


def test_a_finished_run_is_never_overwritten(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    assert train(finished.parent, "trainer.max_updates=4") == 2
    assert "--resume" in capsys.readouterr().err
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_evaluate_shows_before_and_after_beside_chance(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", str(finished), "--split", "id", "--episodes", "4", "--start"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "before" in shown
    assert "26.9%" in shown  # chance, strict, computed from the environment
    figures = json.loads((finished / "evaluation.json").read_text())
    assert figures["after"][0]["chance"]["reach"] == pytest.approx(0.598, abs=5e-4)


def test_sigterm_saves_a_checkpoint_and_ends_politely(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gflowvlm", "train", RECIPE, f"output={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [*command, "name=run", *SMALL, "trainer.max_updates=5000", "evaluation.at_end=false"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text()):
        assert time.monotonic() < deadline, process.communicate(timeout=5)
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "--resume" in output
    assert complete(tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["environment.id=gflowvlm/NumberLines-v0"], "gflowvlm/NumberLine-v0"),
        (["policy.start=nowhere"], "nowhere"),
        (["policy.model=configs"], "config.json"),
        (["policy.lora.rank=4"], "rank"),
        (["environment.train_split=idd"], "expected one of id, ood"),
        (["expert.share=0.2", "policy.max_reply_tokens=8"], "raise it, or set expert.share to 0"),
    ],
)
def test_a_wrong_part_is_one_clear_line(
    overrides: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert train(tmp_path, *overrides) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert train(tmp_path, *overrides) == 2  # the failed attempt left nothing in the way
    assert "--resume" not in capsys.readouterr().err


def test_an_adapter_of_another_base_is_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((finished / "adapter" / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config))
    weights = load_file(finished / "adapter" / "adapter_model.safetensors")
    wide = {name: torch.zeros(w.shape[0] * 2, w.shape[1] * 2) for name, w in weights.items()}
    save_file(wide, other / "adapter_model.safetensors")
    assert train(tmp_path, f"policy.start={other}") == 2
    assert "does not fit" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "trainer.max_updates=2") == 0
    kept = [path.name for path in complete(tmp_path / "run")]
    arguments = ["trainer.max_updates=4", "trainer.learning_rate=1.0e+30", "--resume"]
    assert train(tmp_path, *arguments) == 2
    assert "finite" in capsys.readouterr().err
    assert [path.name for path in complete(tmp_path / "run")] == kept
