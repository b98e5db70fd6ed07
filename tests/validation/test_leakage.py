from tenuto.validation import contaminated, leakage
from tests.validation.tables import clips_table, tables


def test_a_speaker_in_two_splits_is_found():
    rows = [{"group_speaker": "ann"}, {"group_speaker": "ann", "split": "test"}, {"group_speaker": "ben"}]
    outcome = leakage.GroupLeakage().check(tables(rows))
    assert not outcome.success
    assert outcome.summary == "the same speaker is in two splits: ann in train and test (2 clips)"
    assert outcome.clips == ("0000", "0001")
    assert outcome.groups == ("speaker=ann",)


def test_a_speaker_whose_other_clips_are_aside_does_not_leak():
    rows = [{"group_speaker": "ann", "split": "aside"}, {"group_speaker": "ann", "split": "test"}]
    rows += [{"group_speaker": None}, {"group_speaker": None, "split": "test"}]
    outcome = leakage.GroupLeakage().check(tables(rows))
    assert outcome.success
    assert outcome.summary == "no speaker is in two splits (1 checked)"


def test_accents_may_be_in_every_split_unless_they_are_asked_for():
    rows = [{"group_accent": "north"}, {"group_accent": "north", "split": "test"}]
    assert leakage.GroupLeakage().check(tables(rows)).summary.startswith("not checked")
    assert not leakage.GroupLeakage(group="accent").check(tables(rows)).success


def test_near_duplicates_in_two_splits_are_found():
    rows = [{}, {"family": "0000", "split": "validation"}, {}]
    outcome = leakage.NearDuplicateLeakage().check(tables(rows))
    assert not outcome.success
    assert outcome.summary == (
        "the same family of near-duplicates is in two splits: 0000 in validation and train (2 clips)"
    )
    assert outcome.clips == ("0000", "0001")
    assert leakage.NearDuplicateLeakage().check(tables([{}, {"split": "test"}])).success


def test_clips_set_aside_are_counted():
    rows = [{}] * 97 + [{"split": "aside"}] * 3
    outcome = leakage.SetAside(at_most_share=0.01).check(tables(rows))
    assert not outcome.success
    assert outcome.summary.startswith("3 clips (3 %) set aside, because near-duplicates of them or their group")
    assert outcome.clips == ("0097", "0098", "0099")
    assert leakage.SetAside(at_most_share=0.03).check(tables(rows)).success
    assert leakage.SetAside().check(tables([{}])).summary == "no clip is set aside"


def test_test_clips_that_the_champion_trained_on_are_found_by_identity_and_by_family():
    now = clips_table(
        [
            {"clip_id": "trained", "split": "test"},
            {"clip_id": "chosen-on", "split": "test"},
            {"clip_id": "copy", "split": "test", "family": "trained"},
            {"clip_id": "sibling", "split": "test", "family": "gone"},
            {"clip_id": "tested", "split": "test"},
            {"clip_id": "new", "split": "test"},
            {"clip_id": "other"},
        ]
    )
    champion = clips_table(
        [
            {"clip_id": "trained"},
            {"clip_id": "trained-copy", "family": "gone"},
            {"clip_id": "chosen-on", "split": "validation"},
            {"clip_id": "tested", "split": "test"},
            {"clip_id": "other"},
        ]
    )
    assert contaminated(now, champion) == {"trained", "chosen-on", "copy", "sibling"}
    outcome = leakage.ChampionContamination().check(leakage.Tables(now, champion=champion))
    assert not outcome.success
    assert outcome.summary == "the champion was trained on 4 of 6 test clips (67 %); none wanted"
    assert outcome.clips == ("chosen-on", "copy", "sibling", "trained")


def test_without_a_champion_contamination_is_not_checked():
    outcome = leakage.ChampionContamination().check(tables([{"split": "test"}]))
    assert outcome.success
    assert outcome.summary == "not checked: there is no champion yet"


def test_a_champion_without_clips_table_has_not_passed():
    outcome = leakage.ChampionContamination().check(tables([{"split": "test"}], has_champion=True))
    assert not outcome.success
    assert outcome.summary == "what the champion was trained on is unknown: its run has no clips table"
