"""A team's tracking server on one machine: MLflow with users, its runs in PostgreSQL, its artifacts in an S3 store.

    python pipeline/cluster/tracking/server.py FOLDER --artifacts s3://BUCKET

runs until Ctrl-C or SIGTERM, and goes on with what FOLDER holds the next time. Where the store is and who we are to it
comes from the environment, as for every client of S3: MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
Everything listens on the loopback address; PostgreSQL on a socket file alone.
"""

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

ADMIN = "admin"
_START_SECONDS = 180
_POSTGRES_USER = "postgres"  # whom Debian's package makes
# Whoever has an account sees what others measured, and writes only to what is theirs.
_PERMISSION = "READ"
_SOCKET_PATH_BYTES = 107  # Linux's limit


def main() -> None:
    """Start PostgreSQL, then MLflow, and wait."""
    options = _options()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # PostgreSQL's user must get through to its own folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with _postgres(folder) as to_database:
            _serve(folder, options, to_database | _secrets(folder, _uri(folder, "mlflow_auth")))
    except KeyboardInterrupt:
        pass


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="the database, the secrets and the logs")
    parser.add_argument("--artifacts", required=True, help="s3://BUCKET/PREFIX, or a folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--allowed-hosts", help="names by which clients may address it; the default is the loopback's")
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def secret(path: Path, make: str | None = None) -> str:
    """What the file holds; made at first, readable by its owner alone from its first byte on."""
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(make or secrets.token_urlsafe(24))
    if path.stat().st_mode & 0o077:
        sys.exit(f"{path} can be read by others: chmod 600 {path}")
    return path.read_text(encoding="utf-8").strip()


def _secrets(folder: Path, users_uri: str) -> dict[str, str]:
    """MLflow's own, as the environment of its process alone: a command line can be read by everyone on the machine."""
    kept = folder / "secrets"
    config = kept / "basic_auth.ini"
    config.write_text(
        "[mlflow]\n"
        f"default_permission = {_PERMISSION}\n"
        f"database_uri = {users_uri.replace('%', '%%')}\n"
        f"admin_username = {ADMIN}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD") or secret(kept / "admin-password"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(kept / "session-key"),
    }


def _serve(folder: Path, options: argparse.Namespace, environment: dict[str, str]) -> None:
    local = f"localhost:{options.port},127.0.0.1:{options.port}"
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
    command += ["--host", options.host, "--port", str(options.port), "--workers", str(options.workers)]
    command += ["--allowed-hosts", options.allowed_hosts or local]
    artifacts = options.artifacts if "://" in options.artifacts else str(Path(options.artifacts).resolve())
    command += ["--serve-artifacts", "--artifacts-destination", artifacts]
    with (folder / "mlflow.log").open("a", encoding="utf-8") as log:
        environment = {
            **os.environ,
            **environment,
            "MLFLOW_BACKEND_STORE_URI": _uri(folder, "mlflow"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes for what we do not use
        }
        server = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_it_answers(options.host, options.port, server, folder / "mlflow.log")
            print(f"http://{options.host}:{options.port}, user {ADMIN}", flush=True)
            if "MLFLOW_AUTH_ADMIN_PASSWORD" not in os.environ:
                print(f"the password is in {folder / 'secrets' / 'admin-password'}", flush=True)
            sys.exit(server.wait())
        finally:
            _end(server)


def _wait_until_it_answers(host: str, port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(_START_SECONDS * 4):
        if server.poll() is not None:
            sys.exit(f"MLflow did not start: see {log}")
        connection = HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.25)
    sys.exit(f"MLflow did not answer within {_START_SECONDS} s: see {log}")


def _end(server: "subprocess.Popen[bytes]") -> None:
    """With its workers, which outlive an MLflow that is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, str]]:
    """Run PostgreSQL without a port; yields the environment by which its clients find its password."""
    database, kept, run = folder / "postgres", folder / "secrets", folder / "run"
    if len(bytes(run / ".s.PGSQL.5432")) > _SOCKET_PATH_BYTES:
        sys.exit(f"{run} is too long a path for a socket: choose a folder whose path is shorter")
    kept.mkdir(mode=0o700, exist_ok=True)
    kept.chmod(0o700)
    password = secret(kept / "postgres-password")
    secret(kept / "pgpass", make=f"*:*:*:mlflow:{password}\n")
    run.mkdir(mode=0o700, exist_ok=True)
    if _as_postgres():
        shutil.chown(run, _POSTGRES_USER)
    if not database.exists():
        _make_cluster(database, password)
    running = subprocess.run(_command("pg_ctl", "status", "-D", database), cwd="/", capture_output=True, check=False)
    if running.returncode:
        # A left-over lock of a killed server is PostgreSQL's own to judge: it starts unless the other still runs.
        log = run / "postgres.log"
        _run("pg_ctl", "start", "-w", "-D", database, "-l", log, "-o", f"-c listen_addresses='' -k {run}")
    try:
        environment = {"PGPASSFILE": str(kept / "pgpass")}
        for name in ("mlflow", "mlflow_auth"):
            _make_database(name, run, environment)
        yield environment
    finally:
        _run("pg_ctl", "stop", "-w", "-m", "fast", "-D", database)


def _make_cluster(database: Path, password: str) -> None:
    """Whole or not at all, as an initdb that is killed leaves a folder that it refuses the next time."""
    made = database.with_name("postgres.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700)
    file = made / "password"
    secret(file, make=password)
    if _as_postgres():
        shutil.chown(made, _POSTGRES_USER)
        shutil.chown(file, _POSTGRES_USER)
    data = made / "data"
    _run("initdb", "-D", data, "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={file}", "-E", "UTF8", "--no-locale")
    file.unlink()
    data.rename(database)
    made.rmdir()


def _make_database(name: str, run: Path, environment: dict[str, str]) -> None:
    import psycopg2

    connection = psycopg2.connect(host=str(run), user="mlflow", dbname="postgres", passfile=environment["PGPASSFILE"])
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {name}")
    finally:
        connection.close()


def _uri(folder: Path, database: str) -> str:
    """Without a password: that is in the file which PGPASSFILE names."""
    return f"postgresql+psycopg2://mlflow@/{database}?host={folder / 'run'}"


def _as_postgres() -> bool:
    """PostgreSQL refuses to run as root."""
    return os.geteuid() == 0


def _command(program: str, *arguments: str | Path) -> list[str]:
    found = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]]
    path = shutil.which(program, path=os.pathsep.join([*found, os.environ.get("PATH", "")]))
    if path is None:
        sys.exit(f"PostgreSQL's {program} is missing: install PostgreSQL (Debian: postgresql)")
    prefix = ["runuser", "-u", _POSTGRES_USER, "--"] if _as_postgres() else []
    return [*prefix, path, *map(str, arguments)]


def _run(program: str, *arguments: str | Path) -> None:
    # To a file, not a pipe: the server that pg_ctl leaves would hold that open.
    command = _command(program, *arguments)
    done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with status {done.returncode}")


if __name__ == "__main__":
    main()
