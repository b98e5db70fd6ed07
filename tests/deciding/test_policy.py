"""What may be written into promotion.yaml, and what the errors say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tenuto
from tenuto.deciding import policy
from tenuto.deciding.policy import Policy, Rule, WearSettings, load_policy
from tenuto.errors import SettingsError
from tenuto.scoring import acoustics
from tenuto.typed_yaml import digest

TEMPLATE = Path(tenuto.__file__).parent / "templates" / "workspace" / "mlflow" / "promotion.yaml"


def written(folder: Path, text: str) -> Path:
    path = folder / "promotion.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def rule(**fields: object) -> str:
    values = {"name": "floor", "metric": "macro_f1", "at_least": 0.6, "severity": "reject", **fields}
    return "rules:\n  - " + "\n    ".join(f"{key}: {value}" for key, value in values.items() if value is not None)


def ece(**fields: object) -> str:
    return rule(**{"metric": "expected_calibration_error", "at_least": None, **fields})


def other(**fields: object) -> str:
    return rule(**{"name": "other", **fields}).removeprefix("rules:")


def test_the_template_loads() -> None:
    policy = load_policy(TEMPLATE)
    assert [r.severity for r in policy.rules] == ["reject", "hold", "hold", "reject", "reject", "hold", "hold"]
    assert [r.test for r in policy.rules if r.versus == "champion"] == ["better_by", "not_worse_by", "not_better_by"]
    assert policy.wear == WearSettings(alpha=0.05, decisions=52) and policy.approval == "automatic"
    assert {r.versus for r in policy.rules} == {None, "baseline", "champion"}
    assert all(r.min_clips >= 10 for r in policy.rules if r.of.startswith("worst"))


def test_the_repository_has_the_policy_of_a_new_workspace() -> None:
    assert (Path(__file__).parents[2] / "mlflow" / "promotion.yaml").read_bytes() == TEMPLATE.read_bytes()


@pytest.mark.parametrize("text", ["", "rules: []", "rules:"])
def test_no_rules_is_a_policy_without_rules_and_a_warning(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_policy(written(tmp_path, text)) == Policy()
    assert caplog.messages == ["promotion.yaml has no rules: every candidate will be 'not evaluated'."]


@pytest.mark.parametrize(
    "of", ["overall", "worst group", "worst slice=noise", "worst group=speaker", "speaker=ann", "site=class=b"]
)
def test_slices_that_may_be_named(tmp_path: Path, of: str) -> None:
    assert load_policy(written(tmp_path, rule(of=of))).rules[0].of == of


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rule(at_leest=0.5), r"rule 'floor': unknown key 'at_leest'; did you mean 'at_least'"),
        (rule(metric="roc_auc"), r"metric = 'roc_auc' cannot be used.*macro_f1"),
        (rule(severity="warn"), r"severity = 'warn' cannot be used.*reject.*hold"),
        (rule(severity=None), r"'severity' is missing"),
        (rule(at_least=1.5), r"at_least = 1.5 cannot be used"),
        (rule(at_least=None), r"'floor': wanted exactly one of at_least, at_most, better_by, .*, found none"),
        (rule(versus="champion", better_by=0), r"found at_least, better_by"),
        (rule(versus="champion"), r"`versus` goes with better_by, .*; at_least and at_most stand"),
        (rule(at_least=None, better_by=0), r"`versus` goes with better_by, .*; at_least and at_most stand"),
        (rule(at_least=None, better_by=0, versus="last week"), r"versus = 'last week' cannot be used"),
        (rule(of="worst speaker"), r"of = 'worst speaker'; wanted 'overall', 'worst class'"),
        (rule(of="speaker="), r"of = 'speaker='"),
        (rule(of="worst class"), r"metric 'macro_f1' of a class; wanted precision, recall, f1"),
        (rule(of="class=seven", metric="accuracy"), r"metric 'accuracy' of a class"),
        (rule(at_least=None, at_most=-0.1), r"'floor': at_most = -0.1 cannot be used: macro_f1 is never below 0"),
        (rule(at_least=float("nan")), r"at_least = "),
        (rule(metric="brier"), r"at_least of brier, of which less is better; wanted at_most"),
        (rule(metric="size_mb"), r"metric 'size_mb' is one figure of the whole model; wanted at_most alone"),
        (rule(metric="size_mb", at_least=None, at_most=9, of="a=b"), r"one figure of the whole model"),
        (rule(minus="worst group"), r"minus = 'worst group'; wanted 'overall', 'class=NAME' or 'COLUMN=NAME'"),
        (rule(minus="overall"), r"minus = 'overall'; wanted .*, another than `of`"),
        (rule(minus="class=seven"), r"metric 'macro_f1' of a class"),
        (rule(at_least=None, versus="champion", better_by_percent=5, minus="a=b"), r"and no percentage"),
        (rule(at_least=None, versus="champion", better_by_percent=-5), r"better_by_percent = -5 cannot be used"),
        (rule(at_least=None, versus="champion", not_worse_by=0), r"not_worse_by = 0 against the champion .* better_by"),
        (rule(at_least=None, versus="champion", not_worse_by_percent=0), r"not_worse_by_percent = 0 against the champ"),
        (ece(at_most=0.1), r"'expected_calibration_error' comes out too large .* severity: hold, and no `versus`"),
        (ece(severity="hold", versus="champion", not_worse_by=0.1), r"severity: hold, and no `versus`"),
        (ece(severity="hold", versus="baseline", better_by=0.1), r"severity: hold, and no `versus`"),
        (rule(claim="it works"), r"claim 'it works' has one rule, 'floor'; wanted at least two"),
        (rule(claim="c") + other(claim="c", severity="hold"), r"claim 'c': its rules must have the same severity"),
        (rule(claim="c") + other(claim="c", metric="size_mb", at_least=None, at_most=9), r"is no evidence"),
        ("wear: {alpha: 5}", r"alpha = 5 cannot be used"),
        ("approval: nobody", r"approval = 'nobody' cannot be used"),
        (rule(min_clips=0), r"min_clips = 0 cannot be used"),
        (rule() + rule().removeprefix("rules:"), r"rule 'floor' is there twice"),
        ("rules: {}", r"`rules` is no list of rules"),
        (rule(min_clips="true"), r"min_clips = true cannot be used: wanted a number"),
        ("rules: {floor: 0.6}", r"`rules` is no list of rules"),
        ("rules: [floor]", r"`rules` is no list of rules"),
        ("rulez: []", r"unknown key 'rulez'; did you mean 'rules'"),
        ("confidence: 95", r"confidence = 95 cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        load_policy(written(tmp_path, text))
    assert "promotion.yaml" in str(error.value)


def test_a_rule_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"rule 1: 'name' is missing"):
        load_policy(written(tmp_path, rule(name=None)))


def test_a_missing_file_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"copy it from a new workspace \(`tenuto init DIR`\)"):
        load_policy(tmp_path / "promotion.yaml")


def test_the_hash_follows_the_rules_and_not_the_comments(tmp_path: Path) -> None:
    plain = load_policy(written(tmp_path, rule()))
    assert digest(load_policy(written(tmp_path, "# why\n" + rule(of="overall")))) == digest(plain)
    assert digest(load_policy(written(tmp_path, rule(at_least=0.61)))) != digest(plain)
    assert Rule(name="x", metric="f1", severity="hold", at_least=0).undecided == "inconclusive"


@pytest.mark.parametrize(
    ("fields", "test", "threshold"),
    [
        ({"at_most": 0.1, "metric": "log_loss"}, "at_most", 0.1),
        ({"versus": "champion", "better_by_percent": 5}, "better_by_percent", 0.05),
        ({"versus": "champion", "not_better_by": 0.15}, "not_better_by", 0.15),
        ({"at_least": -0.1, "minus": "overall", "of": "accent=scottish", "metric": "accuracy"}, "at_least", -0.1),
    ],
)
def test_the_one_threshold_of_a_rule(fields: dict[str, Any], test: str, threshold: float) -> None:
    found = Rule(**{"name": "r", "metric": "macro_f1", "severity": "hold", **fields})
    assert (found.test, found.threshold) == (test, pytest.approx(threshold))


def test_only_a_lead_over_the_champion_wears_out_the_test_set() -> None:
    def is_superiority(**fields: Any) -> bool:
        return Rule(**{"name": "r", "metric": "macro_f1", "severity": "hold", **fields}).is_superiority

    assert is_superiority(versus="champion", better_by=0) and is_superiority(versus="champion", better_by_percent=0)
    assert not is_superiority(versus="baseline", better_by=0)
    assert not is_superiority(versus="champion", not_worse_by=0.01)
    assert not is_superiority(versus="majority", not_worse_by=0)


def test_the_file_that_a_rule_is_in_is_the_one_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "floor5.yaml"
    path.write_text("rules:\n  - {name: r, metric: accuracy, at_least: 60, severity: hold}\n")
    with pytest.raises(SettingsError, match=r"^floor5.yaml: rule 'r': at_least = 60 cannot be used"):
        load_policy(path)


def test_a_slice_that_there_is_not_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("rules:\n  - {name: r, metric: accuracy, of: worst slice=nois, at_least: 0.6, severity: hold}\n")
    with pytest.raises(SettingsError, match=r"no slice 'nois'; wanted noise, duration, rate, codec, level"):
        load_policy(path)


def test_the_slices_are_those_that_are_told_apart() -> None:
    assert tuple(acoustics.KINDS) == policy.SLICES
