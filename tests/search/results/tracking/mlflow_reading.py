"""What MLflow holds, as it says itself; and a server of it on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

STATUS = {"FINISHED": "complete", "KILLED": "pruned", "FAILED": "fail", "RUNNING": "running", "SCHEDULED": "paused"}


def read(uri, experiment="demo"):
    """Returns the study's runs, and those of its trials by number, each number once."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id]) if found else []
    parents = [run for run in runs if "search.trial" not in run.data.tags]
    trials = {}
    for run in runs:
        if "search.trial" in run.data.tags:
            number = int(run.data.tags["search.trial"])
            assert number not in trials, "a trial has one run"
            assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
            trials[number] = run
    return client, parents, trials


def points(client, run):
    """Returns a run's metrics: by name, the value of each step, each step once."""
    result = {}
    for name in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, name)
        result[name] = {metric.step: metric.value for metric in history}
        assert len(result[name]) == len(history), "no point is there twice"
    return result


class Server:
    """MLflow's own server, as `mlflow server` starts it, in Waitress: for that the small MLflow and Flask are enough."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        store = f"sqlite:///{self.folder}/server.db"
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--artifacts-destination", str(self.folder / "artifacts"), "--waitress-opts", ""]
        with (self.folder / "server.log").open("ab") as log:
            env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=env)
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
                time.sleep(0.3)
        raise TimeoutError("MLflow's server does not answer")

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def copy_of(template, path):
    """Puts an empty database of MLflow in a place: to make one takes seconds."""
    shutil.copy(template, path)
    return f"sqlite:///{path.resolve()}"
