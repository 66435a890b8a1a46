"""What lies ready to schedule a night: each is parsed, linted or run.

There is no Docker daemon, no cluster and no Airflow in a test: the Dockerfile and the manifest are
held against what they must say, the DAG runs against stand-ins for Airflow's three names.
"""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from configparser import RawConfigParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import typer
import yaml

from harvester import errors
from harvester.cli.main import application
from tests.support.simulated import ROOT

FOLDER = ROOT / "configs" / "schedule"
GOOD = {0, 3, 8}
"""Ends as they were meant to be; 7 is nobody's fault, 5 passes by itself."""
NEEDS_SOMEBODY = {1, 2, 4, 6}


def test_every_exit_code_is_good_or_passing_or_somebodys() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.HarvesterError)}
    assert codes | {0, 3} == GOOD | NEEDS_SOMEBODY | {5, 7, 130, 143}


def assert_is_a_command(words: list[str]) -> None:
    """The words are a command of ours, with options that it has."""
    command: Any = typer.main.get_command(application())
    command.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("harvester.service", 1),
        ("crontab", 4),
        ("kubernetes-cronjob.yaml", 1),
        ("kuberay-rayjob.yaml", 1),
        ("Dockerfile", 1),
    ],
)
def test_commands_have_the_options_that_they_are_given(name: str, count: int) -> None:
    found = [line.lstrip("# ") for line in (FOLDER / name).read_text().splitlines()]
    text = "\n".join(found).replace("\\\n", " ")
    pattern = (
        r"(?:bin/harvester|^ *harvester|cdr-harvester:[0-9.]+) +((?:run|doctor|status)\b[^&|\n)]*)"
    )
    commands = re.findall(pattern, text, re.MULTILINE)
    assert len(commands) == count
    for words in commands:
        assert_is_a_command(shlex.split(words.replace("2>", "")))


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_no_file_holds_a_secret_or_asks_for_one_in_the_open(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"HARVESTER_API_(KEY|SECRET)\s*[=:]", text)
    assert "API_SECRET_FILE" in text or file.suffix == ".timer"


class TestSystemd:
    def unit(self, name: str) -> RawConfigParser:
        parsed = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
        parsed.optionxform = str  # type: ignore[assignment,method-assign]
        parsed.read(FOLDER / name)
        return parsed

    def test_systemd_itself_finds_nothing_to_say(self, tmp_path: Path) -> None:
        if shutil.which("systemd-analyze") is None:
            pytest.skip("SKIPPED: no systemd-analyze here; the units were only parsed")
        for unit in ("harvester.service", "harvester.timer"):
            # The command is not installed on this machine, nor is its user.
            text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", (FOLDER / unit).read_text())
            (tmp_path / unit).write_text(text.replace("User=harvester", "User=root"))
        units = [tmp_path / "harvester.service", tmp_path / "harvester.timer"]
        command = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, units)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_exit_codes_are_what_they_mean(self) -> None:
        service = self.unit("harvester.service")["Service"]
        success = {int(code) for code in service["SuccessExitStatus"].split()}
        prevented = {int(code) for code in service["RestartPreventExitStatus"].split()}
        assert success | {0} == GOOD | {7, 143}
        assert prevented == NEEDS_SOMEBODY | {130}
        assert service["Restart"] == "on-failure"

    def test_secrets_come_as_credentials(self) -> None:
        text = (FOLDER / "harvester.service").read_text()
        for name in ("key", "secret"):
            assert f"LoadCredential={name}:" in text
            assert f"HARVESTER_API_{name.upper()}_FILE=%d/{name}" in text
        assert self.unit("harvester.service")["Service"]["User"] != "root"

    def test_timer_starts_the_service(self) -> None:
        timer = self.unit("harvester.timer")
        assert timer["Timer"]["Unit"] == "harvester.service"
        assert timer["Install"]["WantedBy"] == "timers.target"


def test_crontab_lines_have_five_fields_and_a_command() -> None:
    lines = (FOLDER / "crontab").read_text().splitlines()
    jobs = [line for line in lines if re.match(r"[0-9*]", line)]
    assert len(jobs) == 4
    for job in jobs:
        assert re.match(r"(?:[0-9*,/-]+ ){5} cd /srv/cdr && ", job)
        assert "%" not in job, "cron takes it for the end of the line"
    settings = [line for line in lines if line and not line.startswith("#") and line not in jobs]
    assert all(re.match(r"[A-Z_]+=\S+$", line) for line in settings)


class TestAirflow:
    @pytest.fixture
    def module(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """The DAG's module, with stand-ins for what it imports of Airflow."""
        source = (FOLDER / "airflow_dag.py").read_text()
        ast.parse(source)
        decorators, exceptions = ModuleType("airflow.decorators"), ModuleType("airflow.exceptions")
        self.made: list[str] = []

        def dag(**settings: object) -> Any:
            assert settings["catchup"] is False
            assert settings["max_active_runs"] == 1
            return lambda build: build

        def task(function: Any = None, **settings: object) -> Any:
            def made(wrapped: Any) -> Any:
                self.made.append(wrapped.__name__)
                return _Step

            return made if function is None else made(function)

        decorators.__dict__.update(dag=dag, task=task)
        for name in ("AirflowException", "AirflowFailException", "AirflowSkipException"):
            setattr(exceptions, name, type(name, (Exception,), {}))
        for name, stand_in in (("decorators", decorators), ("exceptions", exceptions)):
            monkeypatch.setitem(sys.modules, f"airflow.{name}", stand_in)
        monkeypatch.setitem(sys.modules, "airflow", ModuleType("airflow"))
        namespace: dict[str, Any] = {"__name__": "dag"}
        exec(compile(source, "airflow_dag.py", "exec"), namespace)
        return namespace

    def test_its_tasks_are_doctor_run_verify(self, module: dict[str, Any]) -> None:
        assert self.made == ["doctor", "run", "verify"]
        for words in (["doctor", "ids"], ["run", "ids", "--max-duration", "5h"], ["verify"]):
            assert_is_a_command([*words, *module["CONFIG"]])

    @pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 143])
    def test_exit_codes_become_states(
        self, module: dict[str, Any], code: int, tmp_path: Path
    ) -> None:
        program = tmp_path / "harvester"
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
        module.update(HARVESTER=str(program), HOME=str(tmp_path))
        expected = "AirflowException"
        if code in GOOD:
            module["harvester"]("run")
            return
        if code in NEEDS_SOMEBODY:
            expected = "AirflowFailException"
        if code == 7:
            expected = "AirflowSkipException"
        with pytest.raises(Exception, match=f"exit code {code}") as raised:
            module["harvester"]("run")
        assert type(raised.value).__name__ == expected


class _Step:
    """A task in a DAG: `a() >> b()`."""

    def __rshift__(self, other: _Step) -> _Step:
        return other


class TestKubernetes:
    @pytest.fixture
    def job(self) -> dict[str, Any]:
        documents = yaml.safe_load_all((FOLDER / "kubernetes-cronjob.yaml").read_text())
        return next(one for one in documents if one["kind"] == "CronJob")

    def pod(self, job: dict[str, Any]) -> Any:
        return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    def test_never_two_at_a_time_and_never_as_root(self, job: dict[str, Any]) -> None:
        assert job["apiVersion"] == "batch/v1"
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        pod = self.pod(job)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["restartPolicy"] == "Never"
        inside = pod["containers"][0]["securityContext"]
        assert inside["allowPrivilegeEscalation"] is False
        assert inside["readOnlyRootFilesystem"] is True

    def test_secrets_are_files_and_every_mount_has_its_volume(self, job: dict[str, Any]) -> None:
        pod = self.pod(job)
        container = pod["containers"][0]
        assert not any("valueFrom" in one for one in container["env"])
        assert {one["name"] for one in container["env"]} == {
            "HARVESTER_API_KEY_FILE",
            "HARVESTER_API_SECRET_FILE",
        }
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        assert set(mounts) == {one["name"] for one in pod["volumes"]}
        assert all(one["value"].startswith(mounts["secrets"]) for one in container["env"])
        secret = next(one for one in pod["volumes"] if one["name"] == "secrets")["secret"]
        assert secret["defaultMode"] == 0o440

    def test_what_needs_somebody_fails_the_job_at_once(self, job: dict[str, Any]) -> None:
        rules = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
        assert set(rules[0]["onExitCodes"]["values"]) == NEEDS_SOMEBODY
        assert rules[0]["onExitCodes"]["containerName"] == self.pod(job)["containers"][0]["name"]

    @pytest.fixture
    def script(self, job: dict[str, Any], tmp_path: Path) -> SimpleNamespace:
        """The container's shell, with a harvester that ends as it is told to."""
        container = self.pod(job)["containers"][0]
        command = [*container["command"], *container["args"]]
        fake = tmp_path / "harvester"

        def start(body: str) -> subprocess.Popen[str]:
            fake.write_text(f"#!/bin/sh\n{body}\n")
            fake.chmod(0o755)
            path = f"{tmp_path}:/usr/bin:/bin"
            return subprocess.Popen(command, env={"PATH": path}, cwd=tmp_path, text=True)

        return SimpleNamespace(start=start, folder=tmp_path)

    @pytest.mark.parametrize("code", [0, 3, 5, 7, 8, 4, 143])
    def test_its_shell_makes_good_ends_0_and_keeps_the_others(
        self, script: SimpleNamespace, code: int
    ) -> None:
        expected = 0 if code in GOOD | {7} else code
        assert script.start(f"exit {code}").wait(timeout=10) == expected

    def test_sigterm_reaches_the_run_and_is_waited_for(self, script: SimpleNamespace) -> None:
        body = (
            "trap 'sleep 0.3; touch drained; exit 143' TERM\ntouch up\nwhile :; do sleep 0.05; done"
        )
        with script.start(body) as process:
            while not (script.folder / "up").exists():
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 143
        assert (script.folder / "drained").exists()


class TestRayJob:
    """Held against the fields of KubeRay's own samples: there is no cluster in a test."""

    @pytest.fixture
    def spec(self) -> dict[str, Any]:
        job = yaml.safe_load((FOLDER / "kuberay-rayjob.yaml").read_text())
        assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
        found: dict[str, Any] = job["spec"]
        return found

    def pods(self, spec: dict[str, Any]) -> list[Any]:
        cluster = spec["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        return [group["template"]["spec"] for group in groups]

    def test_it_has_only_fields_that_there_are(self, spec: dict[str, Any]) -> None:
        assert set(spec) == {
            "entrypoint",
            "backoffLimit",
            "activeDeadlineSeconds",
            "shutdownAfterJobFinishes",
            "ttlSecondsAfterFinished",
            "rayClusterSpec",
        }
        cluster = spec["rayClusterSpec"]
        assert set(cluster) == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
        assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
        for group in cluster["workerGroupSpecs"]:
            assert set(group) == {
                "groupName",
                "replicas",
                "minReplicas",
                "maxReplicas",
                "rayStartParams",
                "template",
            }
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        for group in groups:
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())

    def test_every_pod_reads_the_secrets_as_files_and_is_not_root(
        self, spec: dict[str, Any]
    ) -> None:
        for pod in self.pods(spec):
            assert pod["securityContext"]["runAsNonRoot"] is True
            (container,) = pod["containers"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            env = {one["name"]: one["value"] for one in container["env"]}
            mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
            assert set(mounts) == {one["name"] for one in pod["volumes"]}
            for name in ("HARVESTER_API_KEY_FILE", "HARVESTER_API_SECRET_FILE"):
                assert env[name].startswith(mounts["secrets"])

    def test_there_is_a_cpu_for_each_worker_of_the_run(self, spec: dict[str, Any]) -> None:
        words = shlex.split(shlex.split(spec["entrypoint"])[2].partition(";")[0])
        wanted = int(words[words.index("--workers") + 1])
        groups = spec["rayClusterSpec"]["workerGroupSpecs"]
        cpus = [group["replicas"] * int(group["rayStartParams"]["num-cpus"]) for group in groups]
        assert sum(cpus) == wanted

    @pytest.mark.parametrize("code", [0, 3, 5, 7, 8, 4, 143])
    def test_its_shell_makes_good_ends_0(
        self, spec: dict[str, Any], tmp_path: Path, code: int
    ) -> None:
        shell, flag, script = shlex.split(spec["entrypoint"])
        fake = tmp_path / "harvester"
        fake.write_text(f"#!/bin/sh\nexit {code}\n")
        fake.chmod(0o755)
        script = script.replace("/opt/harvester/bin/harvester", str(fake))
        ended = subprocess.run([shell, flag, script], check=False).returncode
        assert ended == (0 if code in GOOD | {7} else 1)


class TestDockerfile:
    """No daemon here to build it: it is held against what it must say."""

    TEXT = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text())
    LINES = tuple(line for line in TEXT.splitlines() if line and not line.startswith("#"))

    def of(self, instruction: str) -> list[str]:
        return [line.split(maxsplit=1)[1] for line in self.LINES if line.split()[0] == instruction]

    def test_every_line_is_an_instruction(self) -> None:
        known = r"(FROM|ENV|WORKDIR|COPY|RUN|USER|VOLUME|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD) ."
        assert all(re.match(known, line) for line in self.LINES)

    def test_it_installs_the_lock_file_by_its_hashes_and_nothing_else(self) -> None:
        installs = [line for line in self.of("RUN") if "pip install" in line]
        assert "--require-hashes" in installs[0]
        assert "-r requirements.txt" in installs[0]
        assert "--no-deps --no-build-isolation --no-index ." in installs[1]
        assert len(installs) == 2
        locked = (ROOT / "requirements.txt").read_text()
        backend = re.search(r'requires = \["(\w+)', (ROOT / "pyproject.toml").read_text())
        assert backend
        assert f"\n{backend[1]}==" in locked, "the build backend has to be locked as well"

    def test_what_it_copies_is_there(self) -> None:
        for line in self.of("COPY"):
            *sources, _ = [word for word in line.split() if not word.startswith("--from")]
            if "--from" not in line:
                assert all((ROOT / source).exists() for source in sources)

    def test_it_runs_as_somebody_without_rights_and_looks_after_itself(self) -> None:
        user = self.of("USER")[-1]
        assert user.split(":")[0].isdigit()
        assert user != "0:0"
        assert self.LINES.index(f"USER {user}") < self.LINES.index('ENTRYPOINT ["harvester"]')
        assert 'CMD ["harvester", "status", "--json"]' in self.of("HEALTHCHECK")[0]
        assert not self.of("ARG")
