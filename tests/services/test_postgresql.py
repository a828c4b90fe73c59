"""PostgreSQL: its own client over the bridge."""

import hashlib
import signal
import subprocess

import pytest
from servers import run, until

ROWS = 100_000
EXPECTED = "".join(f"{n}|{hashlib.md5(str(n).encode()).hexdigest()}\n" for n in range(1, ROWS + 1))


@pytest.fixture
def port(postgresql, tunnel):
    return tunnel(addresses=postgresql.address).port


def test_authenticated_query_of_a_hundred_thousand_rows(postgresql, port):
    rows = postgresql.psql(f"SELECT n, md5(n::text) FROM generate_series(1, {ROWS}) n", port,
                           PGAPPNAME="bridged")
    assert rows == EXPECTED
    postgresql.wait_log(rf"connection authorized: user={postgresql.role} .*application_name=bridged")
    postgresql.wait_log(rf"bridged LOG:  statement: SELECT n, md5.*{ROWS}")


def test_a_hundred_thousand_rows_go_in(postgresql, port):
    postgresql.psql("CREATE TABLE sums (n integer, sum text)")
    postgresql.psql(r"\copy sums FROM STDIN WITH (DELIMITER '|')", port, stdin=EXPECTED)
    assert postgresql.psql("SELECT count(*), count(DISTINCT n), bool_and(sum = md5(n::text)) FROM sums") \
        == f"{ROWS}|{ROWS}|t\n"


def test_wrong_password_is_refused(postgresql, port):
    postgresql.psql("SELECT 1", port, status=2, PGPASSWORD="wrong")
    postgresql.wait_log(f'password authentication failed for user "{postgresql.role}"')


def test_eight_clients_at_once(postgresql, port):
    clients, transactions = 8, 25
    bench, environment = postgresql.tool("pgbench"), postgresql.environment()
    run(bench, *postgresql.arguments(postgresql.port), "-i", "-q", postgresql.database, env=environment)
    run(bench, *postgresql.arguments(port), "-c", clients, "-t", transactions, "-n", postgresql.database,
        env=environment)
    assert postgresql.psql("SELECT count(*), count(DISTINCT tid) > 1 FROM pgbench_history") \
        == f"{clients * transactions}|t\n"




def test_query_is_cancelled(postgresql, port):
    """Ctrl-C in psql opens a second connection, by the same way, which names the query of the first."""
    client = subprocess.Popen(
        [postgresql.tool("psql"), *postgresql.arguments(port), "-XAtq", "-d", postgresql.database,
         "-c", "SELECT pg_sleep(600)"], env=postgresql.environment(PGAPPNAME="sleeper"), stderr=subprocess.PIPE, text=True)
    try:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sleeper' AND wait_event = 'PgSleep'"
        until(lambda: postgresql.psql(asleep) == "1\n", "the query runs")
        client.send_signal(signal.SIGINT)
        assert "canceling statement due to user request" in client.communicate(timeout=30)[1]
    finally:
        client.kill()
        client.wait()
    postgresql.wait_log("sleeper ERROR:  canceling statement due to user request")
