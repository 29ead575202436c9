"""The tracking server as it runs for a team, driven by a member and by an outsider: PostgreSQL, MLflow with users, and
moto's S3 server as the store.
"""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer
from project_folder import free_port

SERVER = Path(__file__).parents[3] / "pipeline" / "cluster" / "tracking" / "server.py"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
EXPERIMENTS = "/api/2.0/mlflow/experiments/search?max_results=5"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb")),
        reason="PostgreSQL is not installed",
    ),
]


@dataclass
class Running:
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"
    bucket: str
    store: str
    password: str

    def ask(
        self,
        path: str,
        method: str = "GET",
        password: str | None = None,
        user: str = "admin",
        host: str = "",
        body=None,
    ) -> tuple[int, bytes]:
        """As sent: no client of ours tidies the path first."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Host": host or f"127.0.0.1:{self.port}", "Content-Type": "application/json"}
        if password is not None:
            headers["Authorization"] = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def stored(self) -> list[str]:
        store = boto3.client(
            "s3",
            endpoint_url=self.store,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        return [item["Key"] for item in store.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def processes(self) -> list[psutil.Process]:
        """Of the server and of its PostgreSQL, which is no child of it."""
        ours = psutil.Process(self.process.pid)
        postgres = psutil.Process(int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0]))
        return [root for start in (ours, postgres) for root in (start, *start.children(recursive=True))]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not pytest's: as root the database runs as a user who may not enter that."""
    with tempfile.TemporaryDirectory(prefix="reconv-") as made:
        Path(made).chmod(0o711)
        yield Path(made) / "tracking"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    host, port = store.get_host_and_port()
    running = start(folder, f"http://{host}:{port}", "reconv-tracking")
    yield running
    stop(running)
    store.stop()


def start(folder: Path, store: str, bucket: str) -> Running:
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    client = boto3.client(
        "s3", endpoint_url=store, region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    client.create_bucket(Bucket=bucket)
    port = free_port()
    environment = {**os.environ, **keys, "MLFLOW_S3_ENDPOINT_URL": store}
    environment.pop("MLFLOW_AUTH_ADMIN_PASSWORD", None)
    command = [sys.executable, str(SERVER), str(folder), "--artifacts", f"s3://{bucket}/team", "--port", str(port)]
    process = subprocess.Popen([*command, "--workers", "1"], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = [process.stdout.readline().decode() for _ in range(2)]
    log = folder / "mlflow.log"
    assert said[0] == f"http://127.0.0.1:{port}, user admin\n", log.read_text() if log.exists() else said
    assert str(folder / "secrets" / "admin-password") in said[1]
    password = (folder / "secrets" / "admin-password").read_text().strip()
    return Running(folder, port, process, bucket, store, password)


def stop(running: Running) -> None:
    processes = running.processes()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    assert running.process.stdout is not None
    running.process.stdout.close()
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        process.kill()
    assert alive == []


@pytest.mark.parametrize(
    "path", [EXPERIMENTS, "/api/2.0/mlflow/registered-models/search", f"{ARTIFACTS}?path=", "/", "/graphql"]
)
@pytest.mark.parametrize("password", [None, "", "wrong", "password1234"])
def test_an_outsider_sees_nothing(server: Running, path: str, password: str | None) -> None:
    assert server.ask(path, password=password)[0] == 401


def test_an_outsider_makes_no_account(server: Running) -> None:
    for path in ("/api/2.0/mlflow/users/create", "/signup"):
        status, _ = server.ask(path, "POST", body=b'{"username": "eve", "password": "a long password"}')
        assert status in (401, 403, 404, 405), path


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:5000", "10.0.0.1"])
def test_a_foreign_host_header_is_refused_even_with_the_password(server: Running, host: str) -> None:
    assert server.ask(EXPERIMENTS, password=server.password, host=host)[0] == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e%252f%252e%252e%252fetc%252fpasswd",
        "0/../../secrets/admin-password",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "file:%2f%2f%2fetc%2fpasswd",
    ],
)
def test_artifact_names_stay_in_the_store(server: Running, method: str, name: str) -> None:
    before = server.stored()
    body = b"planted" if method == "PUT" else None

    status, content = server.ask(f"{ARTIFACTS}/{name}", method, password=server.password, body=body)

    assert 300 <= status < 500, content  # 308: to the name without the double slash, inside the store
    assert b"root:" not in content
    assert server.password.encode() not in content
    assert server.stored() == before


def test_a_backslash_is_a_letter_of_a_name_in_the_store(server: Running) -> None:
    server.ask(f"{ARTIFACTS}/..%5c..%5cplanted", "PUT", password=server.password, body=b"planted")

    assert [key for key in server.stored() if not key.startswith("team/")] == []
    assert not list(server.folder.parent.rglob("*planted*"))


def test_listing_stays_in_the_store(server: Running) -> None:
    for path in ("../..", "%2e%2e/%2e%2e", "/etc", "0/../../.."):
        status, content = server.ask(f"{ARTIFACTS}?path={path}", password=server.password)
        assert 400 <= status < 500, (path, content)


def test_a_member_logs_a_run_whose_artifact_ends_in_the_store(server: Running, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("what we measured", encoding="utf-8")
    script = """
from mlflow.tracking import MlflowClient
client = MlflowClient()
run = client.create_run(client.create_experiment("team"))
client.log_metric(run.info.run_id, "validation/accuracy", 0.9)
client.log_artifact(run.info.run_id, "report.txt")
print(run.info.artifact_uri)
"""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{server.port}",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": server.password,
    }

    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("mlflow-artifacts:/")
    key = f"team/{done.stdout.strip().removeprefix('mlflow-artifacts:/')}/report.txt"
    assert key in server.stored()
    # The path by which an outsider would fetch it.
    assert server.ask(f"{ARTIFACTS}/{key.removeprefix('team/')}")[0] == 401
    assert server.ask(f"{ARTIFACTS}/{key.removeprefix('team/')}", password=server.password)[1] == b"what we measured"


def test_another_member_reads_but_does_not_write(server: Running) -> None:
    password = secrets.token_urlsafe(16)
    account = f'{{"username": "reader", "password": "{password}"}}'.encode()
    assert server.ask("/api/2.0/mlflow/users/create", "POST", password=server.password, body=account)[0] == 200

    assert server.ask("/api/2.0/mlflow/experiments/get?experiment_id=0", password=password, user="reader")[0] == 200
    for name in ("0/planted.txt", "planted.txt", "1/../0/planted.txt", "0%2fplanted.txt"):
        status, _ = server.ask(f"{ARTIFACTS}/{name}", "PUT", password=password, user="reader", body=b"planted")
        assert 400 <= status < 500, name
    assert not [key for key in server.stored() if key.endswith("planted.txt")]


def test_everything_listens_on_the_loopback_address(server: Running) -> None:
    listening = {
        socket.laddr
        for process in server.processes()
        for socket in process.net_connections("inet")
        if socket.status == psutil.CONN_LISTEN
    }

    assert {(address.ip, address.port) for address in listening} == {("127.0.0.1", server.port)}


def test_secrets_are_their_owners_alone_and_nowhere_else(server: Running) -> None:
    kept = server.folder / "secrets"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    held = [path for path in kept.iterdir() if path.name != "basic_auth.ini"]
    assert sorted(path.name for path in held) == ["admin-password", "pgpass", "postgres-password", "session-key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in held} == {0o600}

    words = [(kept / name).read_text().strip() for name in ("admin-password", "postgres-password", "session-key")]
    shown = [path.read_bytes() for path in (*server.folder.glob("*.log"), *(server.folder / "run").glob("*.log"))]
    shown.append((kept / "basic_auth.ini").read_bytes())
    shown += ["\0".join(process.cmdline()).encode() for process in server.processes()]
    assert len(shown) > 5
    for word in words:
        assert len(word) >= 32
        assert not [text for text in shown if word.encode() in text]


def test_it_goes_on_with_what_it_had(server: Running) -> None:
    stop(server)

    again = start(server.folder, server.store, server.bucket)

    server.process, server.port = again.process, again.port
    assert again.password == server.password
    assert (
        b'"team"'
        in server.ask("/api/2.0/mlflow/experiments/get-by-name?experiment_name=team", password=again.password)[1]
    )


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "tracking" / "secrets"
    kept.mkdir(parents=True)
    (kept / "postgres-password").write_text("known to all", encoding="utf-8")
    (kept / "postgres-password").chmod(0o644)

    done = subprocess.run(
        [sys.executable, SERVER, tmp_path / "tracking", "--artifacts", "artifacts"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "postgres-password can be read by others: chmod 600" in done.stderr
