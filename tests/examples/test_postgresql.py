"""The page that asks PostgreSQL; PostgreSQL is asked who was there."""

import os
import subprocess

ASK = """
    const ask = async (sql) => {
      await until('signed in', () => !$('run').disabled);
      fill('sql', sql);
      submit('query-form');
      await until('an answer', () => $('figures').textContent !== 'running…' && !$('run').disabled);
    };
    const rows = () => [...document.querySelectorAll('#sheet tr')]
      .map((tr) => [...tr.children].map((cell) => cell.textContent));
    await until('signed in and the first answer', () => $('figures').textContent.includes('row'));
"""


def psql(example, sql):
    return subprocess.run(
        ["psql", "-h", os.path.dirname(example.socket), "-U", "sluice", "-d", "postgres", "-XAtqc", sql],
        env={**os.environ, "PGPASSWORD": example.told()["password"]}, check=True, text=True,
        stdout=subprocess.PIPE).stdout.strip()


def test_rows_in_a_table(postgresql, browser):
    got = postgresql.visit(browser, ASK + """
        const planets = rows();
        await ask("select 1 as n, null as nothing, 'süß ☃' as text, '<b>' as tag");
        const values = rows();
        await ask("create table IF NOT EXISTS here (t text); insert into here values ('page ' || $$x$$)");
        return [planets, values, $('sheet').textContent];
    """)
    planets, values, tags = got
    assert planets[0] == ["name", "radius_km", "day_in_days", "rings"] and len(planets) == 9
    assert values == [["n", "nothing", "text", "tag"], ["1", "null", "süß ☃", "<b>"]]
    assert tags == "CREATE TABLE, INSERT 0 1"
    assert psql(postgresql, "select distinct t from here") == "page x"


def test_a_hundred_thousand_rows(postgresql, browser):
    got = postgresql.visit(browser, ASK + """
        await ask("select n, md5(n::text) as hash from generate_series(1, 100000) as n");
        return [$('figures').textContent, rows().length];
    """)
    assert got[0].startswith("100,000 rows in ") and got[1] == 501


def test_a_mistake_has_its_place_and_is_no_end(postgresql, browser):
    words, after = postgresql.visit(browser, ASK + """
        await ask("select name,\\n  '☃😀', radius\\nfrom planets");
        const words = $('failure').innerText;
        await ask('select 2 as two');
        return [words, rows()];
    """)
    title, line, place = words.split("\n")[:1] + words.split("\n")[-2:]
    assert title.startswith("ERROR 42703: column \"radius\" does not exist.")
    assert line == "  '☃😀', radius" and place.index("▲") == 2 + 6 + 1
    assert after == [["two"], ["2"]]


def test_a_wrong_password_and_then_the_right_one(postgresql, browser):
    told = postgresql.told()
    words, server = postgresql.visit(browser, ASK + """
        fill('password', 'wrong');
        submit('sign-form');
        await until('a problem', () => !$('problem').hidden);
        const words = $('problem').textContent;
        fill('password', args.password);
        submit('sign-form');
        await until('signed in', () => $('server').textContent.includes('signed in as'));
        await ask("select application_name from pg_stat_activity where pid = pg_backend_pid()");
        return [words, rows()[1][0]];
    """, password=told["password"])
    assert 'password authentication failed for user "sluice"' in words
    assert server == "page"


def test_a_server_that_does_not_know_the_password(postgresql, browser):
    got = postgresql.visit(browser, """
        const { answer, begin } = await import(new URL('scram.js', location.href).href);
        const first = begin();
        const challenge = `r=${first.nonce}more,s=${btoa('salt')},i=4096`;
        const failure = (promise) => promise.then(() => null, (error) => error.message);
        const said = [await failure(answer(first, 'x', challenge.replace('r=', 'r=other'))),
                      await failure(answer(first, 'x', challenge.replace('i=4096', 'i=99999999')))];
        const second = await answer(first, 'x', challenge);
        try {
          second.verify('v=' + btoa('something'));
        } catch (error) {
          said.push(error.message);
        }
        return said;
    """)
    assert got == ["The server's challenge is not for us.", "The server wants 99999999 iterations.",
                   "The server does not know the password itself."]
