"""Two hosts with a network between them that is cut for a while: network namespaces, with a server in one of them."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.patience import PATIENCE_S
from tests.search.servers import ENCODED, PASSWORD, USER, Server, account_for, data_folder, find, running

HERE, THERE = "10.213.77.1", "10.213.77.2"
CUT_S = 20.0

pytestmark = pytest.mark.slow


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


@pytest.fixture
def hosts():
    """Two namespaces with a cable between them; yields their names."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("network namespaces need root, and ip and unshare: apt-get install iproute2 util-linux")
    names = [f"search-{os.getpid()}-{side}" for side in "ab"]
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
            ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
        for name, address in zip(names, (HERE, THERE), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in made:
            ip("netns", "delete", name)


@pytest.fixture
def server(hosts):
    """A PostgreSQL that listens on the first host's end of the cable."""
    initdb, postgres, psql = find("initdb"), find("postgres"), find("psql")
    if not (initdb and postgres and psql):
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    account = account_for("postgres")
    with data_folder(account) as folder:
        data = folder / "data"
        options = ["--no-sync", "--auth=scram-sha-256", "--auth-local=trust", "--username=admin", "-E", "UTF8", "-D", data]
        subprocess.run([initdb, *options], check=True, capture_output=True, user=account)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {HERE}/24 scram-sha-256\n")
        inside = ["ip", "netns", "exec", hosts[0], "setpriv", f"--reuid={account}", "--clear-groups"]
        command = [*inside, postgres, "-D", data, "-k", folder, "-h", HERE, "-p", "5432", "-F"]
        sql = [psql, "-h", str(folder), "-U", "admin", "-tA", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-c"]
        with running(Server("postgresql", command, None, 5432, sql, folder / "log")) as server:
            server.execute(f"CREATE USER {USER} SUPERUSER PASSWORD '{PASSWORD}'")
            yield server


@pytest.fixture
def join(environment):
    """Starts `search worker` on a host, which has a name of its own; sees to it that it does not outlive the test."""
    started = []

    def begin(host, name, path):
        command = [sys.executable, "-W", "error", "-m", "search", "worker", str(path)]
        inside = ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name, *command]
        pipe = subprocess.PIPE
        process = subprocess.Popen(inside, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_both_hosts_outlive_a_cut_and_nothing_is_lost(hosts, server, join, write, wait_for):
    database = server.new_database().rpartition("/")[2]
    url = f"postgresql://{USER}:{ENCODED}@{HERE}/{database}"
    keys = {"objective": '"objectives:parabola"', "trials": "28", "storage": f'"{url}"'}
    blind = {"sampler": {"name": '"random"'}, "pruner": {"name": '"none"'}}
    path = write(study=keys, objective={"steps": "6", "pause": "0.3"}, **blind)
    server.sql[server.sql.index("-d") + 1] = database

    def ask(query):
        answer = server.execute(query, check=False).stdout.split()
        return answer[0] if answer else ""

    owner = "trial_system_attributes AS a USING (trial_id) WHERE a.key = 'search:owner' AND a.value_json LIKE '%there%'"

    def in_the_middle():
        """The number of the trial that runs there, once it has reported and is not about to end."""
        some = "SELECT trial_id FROM trial_intermediate_values GROUP BY trial_id HAVING COUNT(*) BETWEEN 1 AND 3"
        return ask(f"SELECT number FROM trials JOIN {owner} AND state = 'RUNNING' AND trial_id IN ({some})")

    def finished():
        return int(ask("SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'") or 0)

    here, there = join(hosts[0], "here", path), join(hosts[1], "there", path)
    number = wait_for(in_the_middle)
    ip("-n", hosts[0], "link", "set", "cable", "down")
    before = finished()
    time.sleep(CUT_S)
    meanwhile = finished() - before
    ip("-n", hosts[0], "link", "set", "cable", "up")
    ends = [(process.communicate(timeout=PATIENCE_S), process.returncode) for process in (here, there)]

    assert [code for _, code in ends] == [0, 0], ends
    assert meanwhile >= 5, "the host with the server went on"
    assert ask(f"SELECT state FROM trials WHERE number = {number}") == "COMPLETE", "what ran on the other one went on"
    after = f"SELECT COUNT(*) FROM trials JOIN {owner} AND number > {number} AND state = 'COMPLETE'"
    assert int(ask(after)) >= 1, "and it took further trials"
    assert ask("SELECT COUNT(*) FROM trials") == "28", "nothing was lost, tried twice or run beyond the budget"
    assert finished() == 28
    assert ask("SELECT COUNT(*) FROM trial_intermediate_values") == str(28 * 6)
