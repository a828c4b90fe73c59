"""Redis: its own client over the bridge, and pages that speak its protocol."""

import re

import pages
from servers import program, run, until

MANY = 10_000


def cli(port, *words, **options):
    return run(program("redis-cli"), "-p", port, *words, **options).strip()


def test_client_sets_and_gets(redis, tunnel):
    port = tunnel(addresses=redis.address).port
    assert cli(port, "SET", "greeting", "hello from far away") == "OK"
    assert cli(port, "GET", "greeting") == "hello from far away"
    assert redis.ask("GET", "greeting") == "hello from far away"


def test_client_sends_a_pipeline_of_ten_thousand(redis, tunnel):
    commands = "".join(f"SET key:{i} {i * i}\r\n" for i in range(MANY))
    said = cli(tunnel(addresses=redis.address).port, "--pipe", input=commands)
    assert said.splitlines()[-1] == f"errors: 0, replies: {MANY}"
    assert redis.ask("DBSIZE") == str(MANY)
    assert redis.calls("set") == MANY
    assert redis.ask("GET", f"key:{MANY - 1}") == str((MANY - 1) ** 2)


def test_fifty_clients_at_once(redis, tunnel):
    said = run(program("redis-benchmark"), "-p", tunnel(addresses=redis.address).port, "-n", MANY, "-c", 50,
               "-P", 16, "-t", "incr", "--csv", "-d", 100)
    assert re.search('"INCR"', said), said
    assert redis.ask("GET", "counter:__rand_int__") == str(MANY)
    assert redis.calls("incr") == MANY


def test_client_hears_that_nobody_is_there(redis, tunnel):
    way = tunnel(addresses=redis.address)
    assert cli(way.port, "PING") == "PONG"
    redis.ask("SHUTDOWN", "NOSAVE")
    redis.process.wait(30)
    run(program("redis-cli"), "-p", way.port, "PING", status=1)
    assert way.wait_codes() == {1}


def test_page_sends_a_pipeline_of_ten_thousand(redis, bridge, browser):
    result = pages.run(browser, """
        const stream = await session.open();
        let commands = '';
        for (let i = 0; i < args.count; i++) commands += redis.command('SET', `page:${i}`, String(i));
        for (let i = 0; i < args.count; i++) commands += redis.command('GET', `page:${i}`);
        const written = stream.write(commands);
        const wrong = [];
        for (let i = 0; i < args.count; i++) if (await redis.reply(stream) !== 'OK') wrong.push(i);
        for (let i = 0; i < args.count; i++) if (await redis.reply(stream) !== String(i)) wrong.push(-i);
        await written;
        await stream.closeWrite();
        return { wrong, rest: (await stream.readAll()).length };
    """, bridge(addresses=redis.address), count=MANY)
    assert result == {"wrong": [], "rest": 0}
    assert redis.ask("DBSIZE") == str(MANY)
    assert (redis.calls("set"), redis.calls("get")) == (MANY, MANY)


def test_page_is_pushed_what_others_publish(redis, bridge, browser):
    count = 100
    page = pages.start(browser, """
        const stream = await session.open();
        await stream.write(redis.command('SUBSCRIBE', 'news'));
        const heard = [await redis.reply(stream)];
        while (heard.length <= args.count) heard.push(await redis.reply(stream));
        return heard;
    """, bridge(addresses=redis.address), count=count)
    until(lambda: redis.subscribers("news") == 1, "the page subscribes")
    for i in range(count):
        assert redis.ask("PUBLISH", "news", f"message {i}") == "1"  # so many got it
    assert page.result() == [["subscribe", "news", 1]] + [["message", "news", f"message {i}"] for i in range(count)]
    # The page closed its session, so the service's connection is gone, too.
    until(lambda: redis.subscribers("news") == 0, "the page's subscription ends")
