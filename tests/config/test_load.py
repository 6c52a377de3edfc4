from collections.abc import Callable
from pathlib import Path

import pytest

from gflowvlm.config.error import ConfigError
from gflowvlm.config.load import dump_json, load
from gflowvlm.config.objective import DetailedBalance, SubTrajectoryBalance
from gflowvlm.config.supervised import SupervisedFineTuning

Complaint = Callable[..., str]


def test_a_recipe_fills_in_defaults_and_lends_its_name(recipe: Path) -> None:
    config = load(recipe)
    assert config.name == "number_line-subtb"
    assert config.run_dir == Path("runs/number_line-subtb")
    assert config.objective == SubTrajectoryBalance(decay=0.5)
    assert (config.trainer.max_updates, config.trainer.group_size) == (20, 4)


def test_overrides_change_and_add_settings_in_order(recipe: Path) -> None:
    config = load(
        recipe,
        ["name=mine", "trainer.max_updates=7", "trainer.max_updates=8", "policy.lora.rank=2"],
    )
    assert (config.name, config.trainer.max_updates, config.policy.lora.rank) == ("mine", 8, 2)


def test_a_number_in_scientific_notation_is_a_number(recipe: Path) -> None:
    # PyYAML's own rules read 1e-5 as text
    assert load(recipe, ["trainer.learning_rate=1e-5"]).trainer.learning_rate == 0.00001


def test_a_whole_section_can_be_replaced(recipe: Path) -> None:
    assert load(recipe, ["objective={type: db}"]).objective == DetailedBalance()
    supervised = load(recipe, ["objective={type: sft, loss_on: [action]}"]).objective
    assert supervised == SupervisedFineTuning(loss_on=("action",))


def test_shares_are_of_the_whole_batch(recipe: Path) -> None:
    config = load(recipe, ["replay.share=0.25", "expert.share=0.15"])
    # 8 * 4 = 32 are played and make up 60 %: 32 * 0.25 / 0.6 = 13.3, 32 * 0.15 / 0.6 = 8
    assert (config.added(config.replay.share), config.added(config.expert.share)) == (13, 8)
    assert config.off_policy == ["replay.share", "expert.share"]
    taken_over = load(recipe, ["expert={share: 0.5, takes_over: true}"])
    assert taken_over.added(0.5) == 32


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["replay.share=1"], "replay.share: found 1, expected less than 1"),
        (["replay.share=-0.1"], "replay.share: found -0.1, expected at least 0"),
        (["replay.share=0.6", "expert.share=0.4"], "expected less than 1 together"),
        (["replay.share=0.01"], "less than one episode beside the 32 played"),
        (["expert.share=0.5"], "which is 32 games, expected at most one for each of the 8 groups"),
        (
            ["expert={share: 0.6, takes_over: true}"],
            "which is 48 games, expected at most one for each of the 32 games played: lower it",
        ),
        (["expert.takes_over=true"], "takes_over = true with share = 0, expected a share"),
        (["replay.share=0.5", "replay.capacity=31"], "fewer than the 32 episodes"),
        (["exploration.temperature=0"], "expected more than 0"),
        (["beta={start: 1, end: 2, over: 3, shape: square}"], "expected linear, cosine or"),
        (
            ["objective={type: sft}", "replay.share=0.25", "exploration.temperature=2"],
            "found exploration.temperature and replay.share with objective sft",
        ),
    ],
)
def test_episodes_of_other_laws_are_refused_where_they_make_no_sense(
    complaint: Complaint, overrides: list[str], said: str
) -> None:
    message = complaint(*overrides)
    assert said in message
    assert "\n" not in message


def test_an_objective_takes_only_its_own_policys_episodes_unless_it_says_otherwise(
    complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gflowvlm.config.schema.OFF_POLICY", (DetailedBalance,))
    assert "replay.share with objective subtb, which must not see" in complaint("replay.share=0.25")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["objective={type: subtb, forward_looking: true}"],
            "found forward_looking, expected that the type says it: write type: fl_subtb and",
        ),
        (["objective={type: db, forward_looking: false}"], "write type: db and leave"),
        (["objective={type: fm}"], "expected one that asks for no flow of every action"),
        (
            ["objective={type: reverse_kl}", "trainer.group_size=1"],
            "objective reverse_kl compares the episodes of a group; set trainer.group_size to 2",
        ),
        (
            ["objective={type: forward_kl}", "policy.thought_weight=0.4"],
            "found policy.thought_weight = 0.4, but objective forward_kl is a divergence",
        ),
        (
            ["objective={type: expected_db}", "replay.share=0.25"],
            "replay.share with objective expected_db, which must not see episodes of another",
        ),
        (["objective={type: tb, residual: {type: clip}}"], "expected nats for huber and clip"),
        (["reward.floor=null"], "reward.floor: found null, expected a number"),
        (
            ["policy.history_length=4"],
            "policy: found history_length = 4 with layout = transcript, which rewrites no history",
        ),
        (["policy.layout=rewritten", "policy.history_length=0"], "found 0, expected at least 1"),
    ],
)
def test_objectives_say_in_one_line_what_they_cannot_be_asked(
    complaint: Complaint, overrides: list[str], said: str
) -> None:
    message = complaint(*overrides)
    assert said in message
    assert "\n" not in message


def test_the_printed_config_reads_back_to_the_same(recipe: Path, tmp_path: Path) -> None:
    config = load(recipe, ["trainer.learning_rate=3e-7", "environment.kwargs.high=10"])
    printed = tmp_path / "config.json"
    printed.write_text(dump_json(config))
    assert load(printed) == config


@pytest.mark.parametrize(
    ("override", "guess"),
    [
        ("trainer.max_updats=3", "trainer.max_updates"),
        ("trainr.max_updates=3", "trainer.max_updates"),
        ("learning_rate=1", "trainer.learning_rate"),
        ("policy.lora.rnk=1", "policy.lora.rank"),
        ("policy.rank=1", "policy.lora.rank"),
        ("exploration_temperature=1", "exploration.temperature"),
        ("sead=1", "seed"),
    ],
)
def test_an_unknown_setting_names_the_nearest(
    complaint: Complaint, override: str, guess: str
) -> None:
    path = override.partition("=")[0]
    assert complaint(override) == (
        f"override {override}: {path}: unknown setting; did you mean {guess}?"
    )


@pytest.mark.parametrize(
    ("override", "finding"),
    [
        ("trainer.max_updates=many", 'trainer.max_updates: found "many", expected a whole number'),
        ("trainer.max_updates=1.5", "trainer.max_updates: found 1.5, expected a whole number"),
        ("trainer.max_updates=true", "trainer.max_updates: found true, expected a whole number"),
        ("trainer.learning_rate=.inf", 'trainer.learning_rate: found ".inf", expected a number'),
        ("seed=-1", "seed: found -1, expected at least 0"),
        ("policy.actions=fre", 'policy.actions: found "fre", expected free or constrained'),
        ("evaluation.splits=id", 'evaluation.splits: found "id", expected a list'),
        ("evaluation.splits=[]", "evaluation.splits: found [], expected a list of at least 1"),
        ("trainer=3", "trainer: found 3, expected a section of `key: value` lines"),
        ("name=a/b", 'name: found "a/b", expected one folder\'s name'),
        ("objective={decay: 1}", "objective.type: found nothing, expected one of tb, var_tb"),
        ("objective={type: sft, loss_on: [x]}", 'objective.loss_on.0: found "x", expected fields'),
    ],
)
def test_a_wrong_value_says_what_was_found_and_expected(
    complaint: Complaint, override: str, finding: str
) -> None:
    message = complaint(override)
    assert message.startswith(f"override {override}: {finding}")
    assert "\n" not in message


def test_a_setting_of_another_type_says_whose_it_is(complaint: Complaint) -> None:
    assert complaint("objective.type=db") == (
        "subtb.yaml:6: objective.decay: no setting of type db, only of subtb and fl_subtb and "
        "subtb_done; remove it or change objective.type"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method=ppo", "method: unknown setting; the method is chosen by objective.type: "),
        ("method.type=ppo", "method.type: unknown setting; the method is chosen by objective.type"),
        ("algorithm={type: ppo, epochs: 2}", "write 'objective={type: ppo}'"),
        ("method=a2c", "the method is chosen by objective.type, one of tb, var_tb, db, "),
        ("objective=ppo", "expected a section of `key: value` lines, such as {type: ppo}"),
    ],
)
def test_a_method_under_another_name_is_sent_to_the_objective(
    complaint: Complaint, override: str, said: str
) -> None:
    message = complaint(override)
    assert said in message
    assert "\n" not in message


def test_a_recipe_that_has_a_method_for_an_objective_gets_one_line(recipe: Path) -> None:
    head = "environment: {id: gflowvlm/NumberLine-v0}\nreward: {type: log_linear}\n"
    recipe.write_text(head + "method:\n  type: ppo\n  epochs: 2\n")
    with pytest.raises(ConfigError) as caught:
        load(recipe)
    assert str(caught.value).removeprefix(str(recipe)) == (
        ":3: method: unknown setting; the method is chosen by objective.type: "
        "write `objective: {type: ppo}`"
    )


def test_a_missing_section_is_named(recipe: Path) -> None:
    recipe.write_text("reward: {type: log_linear}\nobjective: {type: db}\n")
    with pytest.raises(ConfigError, match=r"subtb.yaml: environment is missing; add it"):
        load(recipe)


def test_each_problem_gets_its_own_line(complaint: Complaint) -> None:
    lines = complaint("seed=x", "trainer.max_updates=y", "polcy.model=z").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["seed", "trainer.max_updates", "polcy.model"]


@pytest.mark.parametrize("override", ["foo", "=3", "a b=3", "a..b=3", "-x=1"])
def test_a_malformed_override_shows_the_form(complaint: Complaint, override: str) -> None:
    assert complaint(override) == (
        f"override {override}: found no setting and value, expected a.b=value, "
        "for example trainer.max_updates=100"
    )


def test_an_override_inside_a_single_value_is_refused(complaint: Complaint) -> None:
    assert complaint("trainer.max_updates.x.y=1") == (
        "override trainer.max_updates.x.y=1: trainer.max_updates is 20, which has no settings "
        "inside; override trainer.max_updates itself"
    )


@pytest.mark.parametrize(
    "overrides",
    [["objective={type: var_tb}"], ["objective={type: tb, log_z: group}"]],
)
def test_objectives_that_compare_a_group_need_two_in_it(
    complaint: Complaint, recipe: Path, overrides: list[str]
) -> None:
    assert load(recipe, [*overrides, "trainer.group_size=2"]).trainer.group_size == 2
    assert "set trainer.group_size to 2 or more" in complaint(*overrides, "trainer.group_size=1")


def test_a_warmup_longer_than_the_run_is_refused(complaint: Complaint) -> None:
    assert "lower trainer.warmup_updates" in complaint("trainer.warmup_updates=21")


def test_a_mistyped_file_names_its_neighbour(recipe: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*/number_line/subtb.yaml"):
        load(recipe.with_name("subtv.yaml"))
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*/number_line\?"):
        load(recipe.parent.with_name("numberline") / "subtb.yaml")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["objective={type: dpo}", "policy.thought=false", "policy.actions=constrained"],
            "set policy.thought to true",
        ),
        (["objective={type: dpo, rejected: weak}", "policy.start=null"], "set policy.start"),
        (["objective={type: dpo, rejected: weak, verify: true}"], "set verify to false"),
        (["objective={type: spin}", "replay.share=0.2"], "replay.share with objective spin"),
        (["objective={type: spin, alpha: 1.5}"], "at most 1"),
    ],
)
def test_replies_that_cannot_be_compared_are_refused(
    overrides: list[str], said: str, recipe: Path
) -> None:
    with pytest.raises(ConfigError, match=said) as refusal:
        load(recipe, overrides)
    assert len(str(refusal.value).splitlines()) == 1
