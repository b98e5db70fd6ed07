import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tenuto.tracing.erasure import databases
from tenuto.tracing.erasure.identities import Identities

WHO = Identities(clips=("a" * 32,), groups=(("speaker", "Zyxelquor"),))
COLUMNS = {"tags": ("value",), "absent": ("value",)}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_names_go_from_cells_from_freed_pages_and_from_the_log(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE tags (key TEXT, value TEXT, other TEXT)")
        database.executemany(
            "INSERT INTO tags VALUES (?, ?, 'x')", [(f"{n}", f"Zyxelquor {n} " * 200) for n in range(50)]
        )
        database.commit()
        database.execute("DELETE FROM tags WHERE CAST(key AS INTEGER) > 4")
        database.execute("INSERT INTO tags VALUES ('metric', 0.5, 'Zyxelquor')")
        database.commit()
        assert b"Zyxelquor 49" in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert databases.names(path, COLUMNS, WHO) == 5
        database.execute("UPDATE tags SET other = 'x'")
        database.commit()
        # a server has the file open
        assert databases.scrub(path, COLUMNS, WHO) == 5
        assert b"Zyxelquor" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
        rows = dict(database.execute("SELECT key, value FROM tags").fetchall())
    assert rows["3"].startswith("(erased) 3")
    assert rows["metric"] == "0.5"
    assert databases.scrub(path, COLUMNS, WHO) == 0


def test_a_file_that_somebody_keeps_locked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_BUSY_SECONDS", 0.05)
    path = tmp_path / "prefect.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE log (message TEXT)")
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            databases.scrub(path, databases.PREFECT, WHO)


def test_no_file_is_nothing_to_do(tmp_path: Path) -> None:
    assert databases.scrub(tmp_path / "none.db", databases.MLFLOW, WHO) == 0
    assert databases.names(tmp_path / "none.db", databases.MLFLOW, WHO) == 0
    assert not (tmp_path / "none.db").exists()
