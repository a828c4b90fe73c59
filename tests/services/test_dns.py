"""A DNS server by datagrams."""

import re

import pages

ASK = "return dns.ask(session, Object.fromEntries(args.questions));"


def ask(browser, proxy, names):
    """The answers to [(name, type)]."""
    questions = [[i, [name, {"A": 1, "TXT": 16}[kind]]] for i, (name, kind) in enumerate(names, 1)]
    answers = pages.run(browser, ASK, proxy, questions=questions)
    return [answers[str(i)] for i, _ in questions]


def test_page_asks_for_names(dnsmasq, bridge, browser):
    proxy = bridge(datagrams=dnsmasq.udp_address)
    address, text, none = ask(browser, proxy, [("one.sluice.test", "A"), ("long.sluice.test", "TXT"),
                                               ("none.sluice.test", "A")])
    assert (address["code"], address["answers"]) == (0, [[192, 0, 2, 7]])
    strings = bytes(text["answers"][0])
    assert strings == b"".join(bytes([len(s)]) + s.encode() for s in dnsmasq.text)
    assert none["answers"] == [] and none["code"] != 0
    for question in (r"query\[A\] one", r"query\[TXT\] long", r"query\[A\] none"):
        dnsmasq.wait_log(rf"{question}\.sluice\.test from 127\.0\.0\.1")


def test_a_session_has_one_socket(dnsmasq, bridge, browser):
    count = 50
    proxy = bridge(datagrams=dnsmasq.udp_address)
    answers = ask(browser, proxy, [("one.sluice.test", "A")] * count)
    assert all(answer["answers"] == [[192, 0, 2, 7]] for answer in answers)
    ports = re.findall(r" 127\.0\.0\.1/(\d+) query\[A\] one\.sluice\.test", dnsmasq.log())
    assert len(ports) >= count and len(set(ports)) == 1
    ask(browser, proxy, [("one.sluice.test", "A")])
    ports = re.findall(r" 127\.0\.0\.1/(\d+) query\[A\] one\.sluice\.test", dnsmasq.log())
    assert len(set(ports)) == 2
