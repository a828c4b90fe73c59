"""The page that talks to Redis; Redis is asked what it saw."""

import subprocess


def ask(example, *words):
    return subprocess.run(["redis-cli", "-s", example.socket, *words], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def test_commands_and_their_replies(redis, browser):
    ask(redis, "FLUSHALL")
    said = redis.visit(browser, """
        await until('Redis', () => $('server').textContent);
        const said = [];
        for (const line of args.lines) {
          const count = $('talk').children.length;
          fill('command', line);
          submit('command-form');
          await until(line, () => $('talk').children.length > count);
          said.push($('talk').querySelector('.reply').textContent);
        }
        return said;
    """, lines=['SET "a key" "süß ☃"', 'GET "a key"', "GET nothing", "INCRBY n 41", "RPUSH list x 'y z'",
                "LRANGE list 0 -1", "INCR list"])
    assert said == ['"OK"', '"süß ☃"', "(nil)", "(integer) 41", "(integer) 2", '1) "x"\n2) "y z"',
                    "(error) WRONGTYPE Operation against a key holding the wrong kind of value"]
    assert ask(redis, "GET", "a key") == "süß ☃"
    assert ask(redis, "GET", "n") == "41"


def test_a_pipeline(redis, browser):
    ask(redis, "FLUSHALL")
    words = redis.visit(browser, """
        await until('Redis', () => $('server').textContent);
        fill('count', '10000');
        submit('pipeline-form');
        await until('replies', () => !$('figures').hidden);
        return $('figures').textContent;
    """)
    assert words.startswith("10000 replies in ") and words.endswith("; the last was 10000.")
    assert ask(redis, "GET", "pipeline") == "10000"


def test_redis_pushes_into_the_page(redis, browser):
    ask(redis, "FLUSHALL")
    scenario = browser.start(VISIT_CHANNEL, timeout=60, page=redis.page)
    while ask(redis, "PUBSUB", "NUMSUB", "sports").split()[-1] != "1":
        pass
    for number in range(100):
        ask(redis, "PUBLISH", "sports", f"goal {number}")
    messages = scenario.result()
    assert messages == [f"goal {number}" for number in reversed(range(100))]


def test_the_page_publishes(redis, browser):
    texts = redis.visit(browser, """
        await until('a subscription', () => $('received').textContent);
        for (const text of ['one', 'two']) {
          fill('message', text);
          submit('publish-form');
          await until(text, () => $('messages').innerText.includes(text));
        }
        return [...$('messages').querySelectorAll('span')].map((span) => span.textContent);
    """)
    assert texts == ["two", "one"]


VISIT_CHANNEL = """
    const $ = (id) => document.getElementById(id);
    const until = async (condition) => {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    await until(() => $('received').textContent);
    $('channel').value = 'sports';
    $('subscribe-form').requestSubmit();
    const texts = () => [...$('messages').querySelectorAll('span')].map((span) => span.textContent);
    await until(() => texts().length === 100);
    return texts();
"""
