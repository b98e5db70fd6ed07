"""What runs in containers: mlflow/compose.yaml, mlflow/*.Dockerfile, and what their images install."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

PINNED = re.compile(r"\S+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}")
NEEDED = {"TENUTO_WORKSPACE": "/srv/digits", "TENUTO_DATABASE_PASSWORD": "one", "TENUTO_STORE_PASSWORD": "two"}
IMAGES = ("server", "serving", "worker")
TOO_MUCH = {"torch", "transformers", "prefect", "dvc", "great-expectations", "mlflow", "scikit-learn", "matplotlib"}


@pytest.fixture(scope="module")
def compose(project_root: Path) -> Mapping[str, Any]:
    return dict(YAML(typ="safe").load((project_root / "mlflow" / "compose.yaml").read_text(encoding="utf-8")))


def dockerfile(project_root: Path, name: str) -> str:
    return (project_root / "mlflow" / f"{name}.Dockerfile").read_text(encoding="utf-8")


def test_the_compose_file_meets_the_compose_specification(project_root: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run(
        [*command, str(project_root / "mlflow" / "compose.yaml")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def composing() -> list[str]:
    """The command of Docker Compose, version 2 or 1; the test is skipped where there is neither."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    pytest.skip("needs `docker compose` or docker-compose")


@pytest.mark.parametrize("missing", [None, "TENUTO_STORE_PASSWORD"])
def test_compose_accepts_the_file_and_names_a_setting_that_is_missing(project_root: Path, missing: str | None) -> None:
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", **NEEDED}
    environment.pop(missing or "", None)
    done = subprocess.run(
        [*composing(), "--file", str(project_root / "mlflow" / "compose.yaml"), "config"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (missing is None), done.stderr
    assert missing is None or re.search(rf"{missing}|choose one", done.stderr)


def test_every_image_is_pinned_by_version_and_digest(project_root: Path, compose: Mapping[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "build" in service or PINNED.fullmatch(service["image"]), name
    for name in IMAGES:
        text = dockerfile(project_root, name)
        (base,) = re.findall(r"(?m)^ARG PYTHON=(\S+)$", text)
        assert PINNED.fullmatch(base), name
        assert set(re.findall(r"(?m)^FROM (\S+)", text)) == {"${PYTHON}"}, name


def test_whatever_pip_installs_in_an_image_has_the_locked_version(project_root: Path) -> None:
    lock = locked(project_root)
    backends = tomllib.loads((project_root / "pyproject.toml").read_text())["build-system"]["requires"]
    for package, version in closure(backends):
        assert package in lock and version in (None, lock[package]), package
    for name in IMAGES:
        text = dockerfile(project_root, name).replace("\\\n", "")
        for line in re.findall(r"pip install --no-cache-dir (.+)", text):
            builds = line.rstrip().endswith(" .")
            assert line.startswith("pip==") or "--constraint requirements.lock" in line or "--no-deps" in line, name
            assert builds == ("--build-constraint requirements.lock" in line), name


def test_no_container_runs_as_root_or_gains_rights(project_root: Path, compose: Mapping[str, Any]) -> None:
    for name in IMAGES:
        assert re.findall(r"(?m)^USER (.+)$", dockerfile(project_root, name)) == ["1000:1000"], name
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # the store's entry point gives its volume to its own user and goes on as that user
        assert name == "store" or "build" in service or service["user"] not in {"root", "0"}, name
        assert name == "store" or "cap_add" not in service, name


def test_every_service_says_how_it_is(project_root: Path, compose: Mapping[str, Any]) -> None:
    for name, service in compose["services"].items():
        built = service.get("build", {}).get("dockerfile", "")
        said = "healthcheck" in service or "HEALTHCHECK" in (project_root / built).read_text() if built else True
        assert said and (built or "healthcheck" in service), name


def test_no_secret_stands_in_a_file(project_root: Path, compose: Mapping[str, Any]) -> None:
    secret = re.compile(r"PASSWORD|SECRET|API_KEY|TOKEN")
    values = {
        (name, key): str(value)
        for name, service in compose["services"].items()
        for key, value in service.get("environment", {}).items()
        if secret.search(key)
    }
    assert len(values) >= 6
    for place, value in values.items():
        assert re.fullmatch(r"\$\{TENUTO_[A-Z_]+:(\?choose one|-)\}", value), place
    for name in IMAGES:
        assert not secret.search(dockerfile(project_root, name)), name


def test_ports_are_open_to_this_machine_only_and_the_database_to_nobody(compose: Mapping[str, Any]) -> None:
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("${TENUTO_BIND:-127.0.0.1}:"), name
    assert compose["networks"]["inner"] == {"internal": True}
    for name in ("postgres", "store"):
        assert compose["services"][name]["networks"] == ["inner"]
        assert "ports" not in compose["services"][name]


def group(project_root: Path, name: str) -> list[str]:
    return list(tomllib.loads((project_root / "pyproject.toml").read_text())["dependency-groups"][name])


def locked(project_root: Path) -> dict[str, str]:
    lines = (project_root / "requirements.lock").read_text().split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def closure(names: list[str]) -> Iterator[tuple[str, str | None]]:
    """Everything that is installed with `names`, and its version here; None for what is not installed here."""
    waiting, done = [Requirement(name) for name in names], set()
    while waiting:
        wanted = waiting.pop()
        if (key := (canonicalize_name(wanted.name), frozenset(wanted.extras))) in done:
            continue
        done.add(key)
        try:
            found = distribution(wanted.name)
        except PackageNotFoundError:
            yield key[0], None
            continue
        yield key[0], found.version
        extras = wanted.extras or {""}
        needs = [Requirement(need) for need in found.requires or ()]
        waiting += [n for n in needs if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in extras)]


@pytest.mark.parametrize("name", ["serving", "server"])
def test_all_that_an_image_installs_is_in_the_lock(project_root: Path, name: str) -> None:
    lock = locked(project_root)
    for package, version in closure(group(project_root, name)):
        assert package in lock, f"{package} would come in any version"
        assert version in (None, lock[package]), package


def test_the_serving_image_has_nothing_of_training_and_orchestration(project_root: Path) -> None:
    packages = {package for package, _ in closure(group(project_root, "serving"))}
    assert {"onnxruntime", "fastapi", "mlflow-skinny"} <= packages
    assert not packages & TOO_MUCH


def test_what_a_server_installs_is_what_the_project_wants(project_root: Path) -> None:
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    wanted = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    # a part of mlflow, of which the project wants the whole
    assert {canonicalize_name(name) for name in group(project_root, "serving")} - wanted == {"mlflow-skinny"}


LEAN = """
import sys

finders = list(sys.meta_path)

class Lean:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in ABSENT:
            return next((found for f in finders if (found := f.find_spec(name, path, target))), None)

sys.meta_path[:] = [Lean]
import flows.cli, flows.commands.serve, flows.serve, tasks.follow
import mlflow, mlflow.artifacts, onnxruntime
"""


def test_a_server_starts_with_what_its_image_installs(project_root: Path) -> None:
    packages = {package for package, _ in closure(group(project_root, "serving"))}
    absent = {
        module
        for module, owners in packages_distributions().items()
        if not packages & {canonicalize_name(owner) for owner in owners} and module not in {"flows", "tasks", "tenuto"}
    }
    assert {"torch", "prefect", "dvc", "pandas", "sklearn", "great_expectations"} <= absent
    program = LEAN.replace("ABSENT", repr(absent))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=project_root, check=False
    )
    assert done.returncode == 0, done.stderr
