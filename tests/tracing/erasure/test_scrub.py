import io
import json

import pandas as pd
import pytest

from tenuto.tracing.erasure.identities import Identities
from tenuto.tracing.erasure.scrub import scrubbed

ANN, BEN, CAT = "a" * 32, "b" * 32, "c" * 32
WHO = Identities(clips=(ANN,), groups=(("speaker", "ann"),), ordinary=("up",), families={ANN: BEN})


def parquet(table: pd.DataFrame) -> bytes:
    return table.to_parquet()


def read(data: bytes | None) -> pd.DataFrame:
    assert data is not None
    return pd.read_parquet(io.BytesIO(data))


def test_a_table_loses_her_rows_by_id_and_by_group_and_keeps_the_others_as_they_were() -> None:
    table = pd.DataFrame(
        {
            "clip_id": [ANN, BEN, CAT],
            "group_speaker": ["ann", "ben", "ann"],
            "family": [ANN, ANN, CAT],
            "label": ["up", "ann", "up"],
            "aside_reason": ["", f"near-duplicate of {ANN}, a test clip", ""],
            "p_up": [0.1, 0.2, 0.3],
        }
    )
    left = read(scrubbed("clips.parquet", parquet(table), WHO))
    assert left.to_dict("records") == [
        {
            "clip_id": BEN,
            "group_speaker": "ben",
            "family": BEN,
            "label": "ann",  # a class of that name is a class
            "aside_reason": "near-duplicate of (erased), a test clip",
            "p_up": 0.2,
        }
    ]


def test_embeddings_of_her_clips_and_of_their_augmented_copies_go() -> None:
    table = pd.DataFrame({"embedding": [[1.0], [2.0], [3.0]]}, index=[ANN, f"{ANN}-0f3c", BEN])
    assert list(read(scrubbed("shard.parquet", parquet(table), WHO)).index) == [BEN]


def test_json_loses_entries_that_are_hers_and_sentences_keep_a_gap() -> None:
    document = {
        "per_group": {"candidate": {"speaker": {"ann": {"f1": 1}, "ben": {"f1": 0.5}}, "label": {"up": 1}}},
        "left_out": [ANN, BEN],
        "findings": [{"groups": ["speaker=ann", "label=up"], "summary": "speaker=ann has 3 clips"}],
        "clips": [{"clip_id": ANN, "split": "train"}, {"clip_id": BEN, "split": "test"}],
        "hold_out": {"speaker": ["ann", "ben"]},
        "figure": 0.25,
    }
    left = scrubbed("evaluation.json", json.dumps(document).encode(), WHO)
    assert left is not None
    assert json.loads(left) == {
        "per_group": {"candidate": {"speaker": {"ben": {"f1": 0.5}}, "label": {"up": 1}}},
        "left_out": [BEN],
        "findings": [{"groups": ["label=up"], "summary": "speaker=(erased) has 3 clips"}],
        "clips": [{"clip_id": BEN, "split": "test"}],
        "hold_out": {"speaker": ["ben"]},
        "figure": 0.25,
    }


def test_json_lines_are_rewritten_one_by_one() -> None:
    lines = b'{"speaker": "ben"}\n{"message": "worst is ann"}\nno json, ann\n'
    left = scrubbed("events.jsonl", lines, WHO)
    assert left == b'{"speaker": "ben"}\n{"message": "worst is (erased)"}\nno json, (erased)\n'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b'{"speaker":   "ben"}'),
        ("a.jsonl", b'{"speaker":   "ben"}\n'),
        ("a.md", "Zoë, joanna".encode()),
        ("a.log", b"\xff\xfe ben"),
        ("a.parquet", parquet(pd.DataFrame({"clip_id": [BEN], "n": [1]}))),
        ("damaged.parquet", b"PAR1 ann"),
        ("weights.safetensors", b"ann"),
    ],
)
def test_files_that_do_not_name_her_stay_byte_for_byte(name: str, data: bytes) -> None:
    assert scrubbed(name, data, WHO) is None


def test_text_that_is_no_utf8_keeps_its_other_bytes() -> None:
    assert scrubbed("server.log", b"\xff ann \xfe", WHO) == b"\xff (erased) \xfe"
