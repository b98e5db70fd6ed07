import re
import tempfile
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from tasks.validate import validate
from tenuto.errors import SettingsError
from tenuto.records import Finding, ValidationReport
from tenuto.validation import EXPECTATIONS, STOP_ACTION
from tests.validation.tables import clips_table, counted

pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_.*' is deprecated:DeprecationWarning")

HOSTILE = "<b onclick='$label'>&</b>"
FAULTS = {
    "duration": {"duration_seconds": 99.0},
    "level": {"level_dbfs": -80.0},
    "noise": {"snr_db": 0.0},
    "clipping": {"clipped_fraction": 0.5},
    "dc_offset": {"dc_offset": -0.3},
    "dead_channel": {"has_dead_channel": True},
    "fake_bandwidth": {"is_fake_bandwidth": True},
    "truncated": {"is_truncated": True},
}
"""A column value that breaks each rule for single clips."""


def dataset(folder: Path, clips: pd.DataFrame, **others: pd.DataFrame) -> dict[str, Path | None]:
    """The arguments of the task that name tables, written under `folder`."""
    paths: dict[str, Path | None] = {"reference_path": None, "champion_clips_path": None}
    for name, table in {
        "clips_path": clips,
        "quarantine_path": pd.DataFrame({"reason": []}, dtype=str),
        **others,
    }.items():
        paths[name] = folder / f"{name}.parquet"
        table.to_parquet(paths[name])
    return paths


def suite(folder: Path, *lines: str) -> Path:
    path = folder / "expectations.yaml"
    path.write_text("expectations:\n" + "".join(f"  - {line}\n" for line in lines), encoding="utf-8")
    return path


def even_clips() -> list[dict]:
    """Two classes of 60, 40 and 40 clips, heard from 14 speakers, each in one split."""
    rows = []
    for split, names, clips in (("train", "abcdef", 10), ("validation", "ghij", 10), ("test", "klmn", 10)):
        for label in ("one", "two"):
            for name in names:
                rows += counted({(label, split): clips}, group_speaker=name, group_accent="north")
    return rows


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, project_root) -> ValidationReport:
    """The template's suite over a dataset in which everything is wrong that can be."""
    folder = tmp_path_factory.mktemp("faulty")
    rows = even_clips()
    for row, fault in product(rows[100:170], FAULTS.values()):
        row |= fault
    rows += counted({(HOSTILE, "train"): 3, (HOSTILE, "test"): 1}, group_speaker="z", group_accent="south")
    rows[0] |= {"sample_rate_hz": 44100, "split": "aside", "clip_id": "twice"}
    rows[1] |= {"clip_id": "twice"}
    rows[2] |= {"label": None}
    rows += [{"group_speaker": "a", "group_accent": "west", "split": "aside"}] * 5
    rows += [{"label": "two", "group_speaker": "y", "family": "0070", "split": "test"}]
    reference = clips_table([{"duration_seconds": 3.0, "level_dbfs": -3.0, "group_speaker": "q"}] * 50)
    champion = clips_table([{"clip_id": f"{i:04d}"} for i in range(300)])
    paths = dataset(
        folder,
        clips_table(rows),
        quarantine_path=pd.DataFrame({"reason": ["silent"]}),
        reference_path=reference,
        champion_clips_path=champion,
    )
    template = project_root / "tenuto/templates/workspace/expectations.yaml"
    return validate.fn(**paths, expectations_path=template, docs=folder / "docs")


def found(report: ValidationReport, name: str) -> Finding:
    return next(finding for finding in report.findings if finding.expectation == name)


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_every_expectation_is_evaluated_and_finds_its_fault(faulty, name):
    finding = found(faulty, name)
    assert not finding.summary.startswith("could not be checked")
    assert not finding.success
    assert finding.action == (STOP_ACTION if finding.severity == "stop" else EXPECTATIONS[name].action)


@pytest.mark.parametrize("name", FAULTS)
def test_rules_for_single_clips_count_and_name_the_clips_that_break_them(faulty, name):
    finding = found(faulty, name)
    assert finding.observed["clips"] == 70
    assert finding.clips == tuple(f"{i:04d}" for i in range(100, 150))


def test_findings_keep_the_order_and_severity_of_the_file(faulty):
    names = [finding.expectation for finding in faulty.findings]
    assert names[:4] == ["unique_clips", "known_labels", "quarantined", "duration"]
    assert [f.severity for f in faulty.findings if f.expectation == "clips_per_class"] == ["warn", "stop"]
    assert {f.expectation for f in faulty.stops} >= {"unique_clips", "known_labels", "near_duplicate_leakage"}


def test_the_pages_ask_nothing_of_the_net_and_show_hostile_labels_as_text(faulty):
    pages = list(faulty.data_docs.parents[4].rglob("*.html"))
    assert faulty.data_docs in pages
    assert len(pages) == 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"""(?:src|href)=["']?https?:|url\(["']?https?:""", text)
        assert "<b onclick" not in text
    assert "class imbalance in train" in faulty.data_docs.read_text(encoding="utf-8")


def test_an_even_dataset_with_few_faulty_clips_meets_the_template_silently(tmp_path, project_root, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    rows = even_clips()
    for fault in FAULTS.values():
        rows[0] |= fault
    clips = clips_table(rows)
    paths = dataset(tmp_path, clips, reference_path=clips)
    before = {path.name for path in tmp_path.iterdir()}
    template = project_root / "tenuto/templates/workspace/expectations.yaml"
    report = validate.fn(**paths, expectations_path=template, docs=tmp_path / "docs")
    assert [f.summary for f in report.findings if not f.success] == []
    assert {f.action for f in report.findings} == {""}
    assert {path.name for path in tmp_path.iterdir()} == before | {"docs"}
    assert list(temporary.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_pages_of_earlier_runs_stay(tmp_path):
    paths = dataset(tmp_path, clips_table([{}, {"split": "test"}]))
    entries = suite(tmp_path, "{name: unique_clips, severity: stop}")
    first, second = (validate.fn(**paths, expectations_path=entries, docs=tmp_path / "docs") for _ in range(2))
    assert first.data_docs != second.data_docs
    assert first.data_docs.is_file()
    index = (tmp_path / "docs/index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(validations/[^"]*)"', index)
    assert [tmp_path / "docs" / link for link in links] == [second.data_docs, first.data_docs]


def test_an_expectation_that_cannot_be_evaluated_has_not_passed(tmp_path):
    paths = dataset(tmp_path, clips_table([{}, {}]).drop(columns=["snr_db", "family"]))
    entries = suite(tmp_path, "{name: noise}", "{name: near_duplicate_leakage, severity: stop}", "{name: unique_clips}")
    report = validate.fn(**paths, expectations_path=entries, docs=tmp_path / "docs")
    noise, leakage, unique = report.findings
    assert not noise.success
    assert re.match("could not be checked: .*snr_db", noise.summary)
    assert not leakage.success
    assert re.match("could not be checked: .*family", leakage.summary)
    assert report.stops == (leakage,)
    assert unique.success


def test_a_dataset_without_quarantine_table_has_nothing_quarantined(tmp_path):
    paths = dataset(tmp_path, clips_table([{}, {}])) | {"quarantine_path": tmp_path / "none.parquet"}
    report = validate.fn(**paths, expectations_path=suite(tmp_path, "{name: quarantined}"), docs=tmp_path / "docs")
    assert report.findings[0].summary == "none of 2 recordings is quarantined"


def test_a_group_that_the_clips_do_not_have_is_named(tmp_path):
    paths = dataset(tmp_path, clips_table([{"group_speaker": "ann"}]))
    entries = suite(tmp_path, "{name: group_drift, arguments: {groups: [site]}}")
    with pytest.raises(SettingsError, match=r"expectations\.yaml: group_drift names the group 'site'.*: speaker\."):
        validate.fn(**paths, expectations_path=entries, docs=tmp_path / "docs")


@pytest.mark.parametrize(("has_champion", "success"), [(True, False), (False, True)])
def test_a_champion_without_clips_table_is_told_from_none(tmp_path, has_champion, success):
    paths = dataset(tmp_path, clips_table([{}, {"split": "test"}]))
    entries = suite(tmp_path, "{name: champion_contamination}")
    report = validate.fn(**paths, expectations_path=entries, docs=tmp_path / "docs", has_champion=has_champion)
    (finding,) = report.findings
    assert finding.success is success
    assert ("champion was trained on is unknown" in finding.summary) is has_champion
