"""What ``fivefold init --deploy`` writes, judged by the tools that will read it; and identities of several owners."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fivefold.cli import main
from fivefold.cli.deploy import Deployment, deployment_files
from fivefold.cli.deploy.kubernetes import _COPY
from fivefold.cli.deploy.systemd import unit
from fivefold.cli.exits import Exit
from fivefold.cluster import create_cluster, create_identity, load_configuration, load_identity, load_public
from fivefold.errors import ConfigurationError

EXPOSURE_MAX = 4.0


def addresses(pattern: str, n: int = 6) -> list[str]:
    return [pattern.format(index) for index in range(n)]


def made(directory: Path, pattern: str, *, n: int = 6, t: int = 1, b: int = 1):
    return create_cluster(directory, addresses(pattern, n), t=t, b=b)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(words)
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def documents_of(files: dict[str, str]) -> list[dict]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install -e '.[dev]'")
    return [each for name in sorted(files) if name.endswith(".yaml") for each in yaml.safe_load_all(files[name])]


# --- systemd --------------------------------------------------------------------------------------------------------
@pytest.fixture
def unit_file(tmp_path: Path) -> Path:
    """The unit as it would be for a server 0 whose program is the one of this environment."""
    program = Path(sys.executable).with_name("fivefold")
    path = tmp_path / "fivefold@0.service"
    path.write_text(unit(made(tmp_path / "prod", "s{}.example:7000"), ["bank"], str(program)))
    return path


def test_systemd_takes_the_unit(unit_file: Path) -> None:
    """``systemd-analyze verify`` says nothing against it."""
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", str(unit_file)], capture_output=True, text=True, timeout=60, check=False
    )
    about_us = [line for line in done.stderr.splitlines() if "fivefold" in line]
    assert (done.returncode, about_us) == (0, [])


def test_the_unit_is_hardened(unit_file: Path) -> None:
    """``systemd-analyze security`` gives it less than 4; without its restrictions it would have more than 9."""
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager"]

    def exposure(path: Path) -> float:
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=False)
        found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        if found is None:
            pytest.skip(f"this systemd-analyze judges no files: {done.stderr.strip()}")
        return float(found[1])

    assert exposure(unit_file) < EXPOSURE_MAX
    bare = unit_file.with_name("bare.service")
    bare.write_text(f"[Service]\nExecStart={sys.executable}\n")
    assert exposure(bare) > 9


def test_the_unit_serves_your_modules(unit_file: Path) -> None:
    """``--objects`` of the init stands in the command line of the server."""
    assert re.search(
        r"^ExecStart=\S+ serve .*--identity server-%i .*--objects bank$", unit_file.read_text(), re.MULTILINE
    )


# --- Compose --------------------------------------------------------------------------------------------------------
def test_compose_takes_the_file(tmp_path: Path) -> None:
    """It follows the schema of Compose."""
    schema = pytest.importorskip("compose_spec", reason="compose-spec is not installed: pip install -e '.[dev]'")
    text = deployment_files(Deployment.COMPOSE, made(tmp_path / "prod", "server-{}:7000"), ["bank"])
    filled = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", text["deploy/compose.yaml"])  # which Compose does before it looks
    found = schema.PyCompose.from_yaml(filled)
    assert sorted(found.service_names()) == [f"server-{index}" for index in range(6)]
    with pytest.raises(Exception, match="unknown"):  # the schema does see a wrong word
        schema.PyCompose.from_yaml(filled.replace("read_only", "unknown"))


def test_a_service_sees_its_own_identity_alone(tmp_path: Path) -> None:
    """Of the private directories each service mounts its own, and can write nowhere else."""
    files = deployment_files(Deployment.COMPOSE, made(tmp_path / "prod", "server-{}:7000"), [])
    [compose] = documents_of(files)
    for index in range(6):
        service = compose["services"][f"server-{index}"]
        writable = {each["source"] for each in service["volumes"] if not each.get("read_only")}
        assert writable == {f"../server-{index}", f"../server-{index}.data"}
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["command"][-2:] == ["--metrics", "127.0.0.1:9100"]


@pytest.mark.parametrize(("pattern", "is_published"), [("server-{}:7000", False), ("h{}.example:7000", True)])
def test_servers_of_other_hosts_are_published(tmp_path: Path, pattern: str, *, is_published: bool) -> None:
    """A plain name is one among the services; any other address is a port of the host."""
    [compose] = documents_of(deployment_files(Deployment.COMPOSE, made(tmp_path / "prod", pattern), []))
    service = compose["services"]["server-0"]
    assert ("ports" in service, "networks" in service) == (is_published, not is_published)


# --- Kubernetes -----------------------------------------------------------------------------------------------------
@pytest.fixture
def kubernetes(tmp_path: Path) -> dict[str, str]:
    """The files for seven servers of which two may crash."""
    configuration = made(tmp_path / "prod", "fivefold-{}.team.svc:7000", n=7, t=2, b=0)
    return deployment_files(Deployment.KUBERNETES, configuration, ["bank"])


def test_kubernetes_takes_the_manifests(kubernetes: dict[str, str]) -> None:
    """They follow its schemas, strictly: no word that it does not know."""
    validator = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed: see .[dev]")
    manifests = [each for each in documents_of(kubernetes) if "kustomize" not in each["apiVersion"]]
    for each in manifests:
        validator.validate(each, "1.32", strict=True)
    manifests[0]["spec"]["maxUnavailabel"] = 1
    with pytest.raises(validator.ValidationError):
        validator.validate(manifests[0], "1.32", strict=True)


def test_there_is_one_server_a_pod_and_one_secret_a_server(kubernetes: dict[str, str]) -> None:
    """Each StatefulSet runs one pod, on a node of its own, with the secret of its own server."""
    sets = [each for each in documents_of(kubernetes) if each["kind"] == "StatefulSet"]
    assert len(sets) == 7
    for index, each in enumerate(sorted(sets, key=lambda each: each["metadata"]["name"])):
        spec = each["spec"]["template"]["spec"]
        secrets = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
        [rule] = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert (each["spec"]["replicas"], secrets) == (1, [f"fivefold-{index}-identity"])
        assert rule["topologyKey"] == "kubernetes.io/hostname"
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= spec["containers"][0].keys()
        assert spec["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert spec["securityContext"]["runAsNonRoot"]


def test_no_more_than_t_pods_are_disrupted(kubernetes: dict[str, str]) -> None:
    """A drain of nodes stops at t servers, of all of them together."""
    [budget] = [each for each in documents_of(kubernetes) if each["kind"] == "PodDisruptionBudget"]
    sets = [each for each in documents_of(kubernetes) if each["kind"] == "StatefulSet"]
    assert budget["spec"]["maxUnavailable"] == 2
    wanted = budget["spec"]["selector"]["matchLabels"].items()
    assert all(wanted <= each["spec"]["template"]["metadata"]["labels"].items() for each in sets)


def test_the_secrets_come_from_the_identities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``kubectl`` makes a secret for each server from the directory beside the kustomization, and no key is copied."""
    words = [word for each in addresses("fivefold-{}:7000") for word in ("--server", each)]
    code, _, _ = run(capsys, "init", str(tmp_path / "prod"), "--deploy", "kubernetes", *words)
    assert code == Exit.OK
    assert not any("PRIVATE KEY" in path.read_text() for path in (tmp_path / "prod" / "deploy").iterdir())
    command = [tool("kubectl"), "kustomize", str(tmp_path / "prod")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    secrets = [each for each in documents_of({"all.yaml": done.stdout}) if each["kind"] == "Secret"]
    assert sorted(each["metadata"]["name"] for each in secrets) == [f"fivefold-{i}-identity" for i in range(6)]
    assert len({each["data"]["signing-key.pem"] for each in secrets}) == 6


def test_the_identity_of_a_pod_can_be_used(tmp_path: Path) -> None:
    """What is copied from the secret to a volume, which a group shares, is an identity that a server takes."""
    create_identity(tmp_path / "secret", name="server-0")
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o2775)
    script = _COPY.replace("/identity", str(volume)).replace("/secret", str(tmp_path / "secret"))
    for _ in range(2):  # also when the pod starts again
        subprocess.run(["sh", "-c", script], check=True, timeout=60)
        assert load_identity(volume / "server").fingerprint == load_identity(tmp_path / "secret").fingerprint


@pytest.mark.parametrize(
    "pattern", ["10.0.0.{}:7000", "[fd00::{}]:7000", "s{}.prod.example:7000", "S{}:7000", "s.team{}.svc:7000"]
)
def test_addresses_that_are_no_services_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    """Before a file is made, with the form to use."""
    words = [word for each in addresses(pattern) for word in ("--server", each)]
    code, _, text = run(capsys, "init", str(tmp_path / "prod"), "--deploy", "kubernetes", *words)
    assert code == Exit.MISTAKE
    assert "NAMESPACE.svc:7000" in text
    assert not (tmp_path / "prod").exists()


# --- the image ------------------------------------------------------------------------------------------------------
def test_the_image_runs_as_nobody(kubernetes: dict[str, str]) -> None:
    """The recipe ends as another user than root, with the hash seed that servers need."""
    lines = kubernetes["deploy/Containerfile"].splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    assert any("PYTHONHASHSEED=0" in line for line in lines if line.startswith("ENV "))
    assert json.loads(lines[-1].removeprefix("ENTRYPOINT ")) == ["fivefold"]


# --- several owners -------------------------------------------------------------------------------------------------
def test_six_owners_show_nobody_their_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each makes an identity at home; the cluster file is put together from the public halves."""
    words = []
    for index in range(6):
        home = tmp_path / f"home-{index}"
        home.mkdir()
        monkeypatch.chdir(home)
        assert run(capsys, "identity", "mine")[0] == Exit.OK
        words += ["--server", f"h{index}.example:7000={home / 'mine.public'}"]
        assert "PRIVATE" not in (home / "mine.public").read_text()
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "init", "prod", *words)[0] == Exit.OK
    assert sorted(path.name for path in Path("prod").iterdir()) == ["client-admin", "cluster.toml"]
    configuration = load_configuration(Path("prod/cluster.toml"))
    for index, server in enumerate(configuration.servers):
        own = load_identity(tmp_path / f"home-{index}" / "mine")
        assert (server.certificate, server.exchange_public) == (own.certificate, own.exchange_public)


def test_one_identity_for_two_servers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two servers with the same keys would be one to the others."""
    run(capsys, "identity", str(tmp_path / "a"))
    words = [word for each in addresses("h{}:7000") for word in ("--server", f"{each}={tmp_path / 'a.public'}")]
    code, _, text = run(capsys, "init", str(tmp_path / "prod"), *words)
    assert (code, "two servers have one identity" in text) == (Exit.MISTAKE, True)
    assert not (tmp_path / "prod").exists()


@pytest.mark.parametrize(
    "text", ["", "format = 2", "format = 1\nexchange_key = 'x'", "\0", "format = 1\n" + "#" * 70_000]
)
def test_what_is_no_public_half_is_refused(tmp_path: Path, text: str) -> None:
    """A damaged or foreign file gets one sentence that names it."""
    path = tmp_path / "a.public"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"a\.public.*fivefold identity"):
        load_public(path)


def test_a_public_half_that_was_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fingerprint tells it."""
    run(capsys, "identity", str(tmp_path / "a"))
    run(capsys, "identity", str(tmp_path / "b"))
    mine, other = (tmp_path / "a.public").read_text(), (tmp_path / "b.public").read_text()
    at = mine.index("certificate =")
    (tmp_path / "a.public").write_text(mine[:at] + other[other.index("certificate =") :])
    with pytest.raises(ConfigurationError, match="fingerprint of the server is not that of its certificate"):
        load_public(tmp_path / "a.public")
