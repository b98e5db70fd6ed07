from pathlib import Path

import pytest

from tenuto import validation
from tenuto.errors import SettingsError
from tenuto.validation.balance import ClassImbalance


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> Path:
        path = tmp_path / "expectations.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_an_entry_has_a_name_a_severity_and_arguments(write):
    (entry,) = validation.load_expectations(
        write("expectations: [{name: class_imbalance, severity: stop, arguments: {at_most: 5}}]")
    )
    assert entry.expectation == ClassImbalance(at_most=5)
    assert (entry.name, entry.severity, entry.action) == ("class_imbalance", "stop", validation.STOP_ACTION)


def test_arguments_may_be_left_out_and_the_severity_is_warn(write):
    (entry,) = validation.load_expectations(write("expectations: [{name: class_imbalance}]"))
    assert entry.severity == "warn"
    assert entry.expectation == ClassImbalance()
    assert entry.action == "rare classes are filled with augmented clips of their own (augment.fill)"


def test_arguments_and_expectations_with_nothing_below_are_empty(write):
    (entry,) = validation.load_expectations(write("expectations:\n  - name: class_imbalance\n    arguments:\n"))
    assert entry.expectation == ClassImbalance()
    assert validation.load_expectations(write("expectations:\n")) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "expectations: [{name: class_imbalence}]",
            r"entry 1: unknown expectation 'class_imbalence'; did you mean 'class_im",
        ),
        ("expectations: [{name: zebra}]", r"unknown expectation 'zebra'; known names: unique_clips, "),
        ("expectations: [{name: level, severity: fatal}]", r"entry 1: severity = 'fatal'; allowed: stop, warn\."),
        (
            "expectations: [{name: level}, {name: class_imbalance, arguments: {at_mots: 2}}]",
            r"entry 2 \(class_imbalance\): unknown key 'at_mots'; did you mean 'at_most'\?",
        ),
        (
            "expectations: [{name: class_imbalance, arguments: {at_most: 0.5}}]",
            r"\(class_imbalance\): at_most = 0\.5 cannot be used: input should be greater than or equal to 1",
        ),
        ("expectations: [{name: class_imbalance, argument: {}}]", r"unknown key 'argument'; did you mean 'arguments'"),
        ("expectations: [{severity: warn}]", r"entry 1: 'name' is missing\."),
        ("expectations: [class_imbalance]", r"entry 1 holds 'class_imbalance', wanted name, severity and arguments\."),
        ("expectation: []", r"expectations\.yaml: unknown key 'expectation'; did you mean 'expectations'\?"),
        ("expectations: {level: warn}", r"expectations\.yaml: expectations = .*wanted a list, each item"),
        (
            "expectations: [{name: clips_per_class, arguments: {least: -1}}]",
            r"unknown key 'least'; known here: test, train, validation\.",
        ),
        (
            "expectations: [{name: clips_per_group, arguments: {groups: accent}}]",
            r"groups = 'accent' cannot be used: wanted a list such as \[one, two\]\.",
        ),
        ("expectations: [", r"expectations\.yaml is not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_is_allowed(write, text, message):
    with pytest.raises(SettingsError, match=message):
        validation.load_expectations(write(text))


def test_a_group_that_the_clips_do_not_have_is_an_error(write):
    suite = validation.load_expectations(
        write("expectations: [{name: clips_per_group}, {name: group_leakage, arguments: {group: sight}}]")
    )
    with pytest.raises(SettingsError, match=r"group_leakage names the group 'sight'.*known groups: accent, site\."):
        validation.require_groups(suite, ["site", "accent"], "expectations.yaml")
    validation.require_groups(suite, ["sight"], "expectations.yaml")


def test_the_template_uses_every_name_and_shows_the_default_arguments(project_root):
    suite = validation.load_expectations(project_root / "tenuto/templates/workspace/expectations.yaml")
    assert {entry.name for entry in suite} == set(validation.EXPECTATIONS)
    for entry in suite:
        if entry.severity == "warn":
            assert entry.expectation == type(entry.expectation)(), entry.name


@pytest.mark.parametrize("name", validation.EXPECTATIONS)
def test_every_expectation_says_what_it_wants_and_what_is_done(name):
    expectation = validation.EXPECTATIONS[name]()
    assert expectation.wanted()
    assert expectation.action
