"""The lint finds each violation in a small tree made for it, and nothing in a clean one."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import lint  # noqa: E402

CLEAN = {
    "proxy/base/turn.h": "/* turn - a. */\n",
    "proxy/front/wt.h": '/* wt - a. */\n#include "base/turn.h"\n',
    "proxy/front/conn.h": "/* conn - a. */\n#include <ngtcp2/ngtcp2.h>\n",
    "proxy/front/h3_internal.h": "/* h3_internal - a. */\n",
    "proxy/front/h3_frames.c": '/* h3. */\n#include "front/h3_internal.h"\n'
                               '#include "front/conn.h"\n#include <nghttp3/nghttp3.h>\n',
    "proxy/front/wt_stream.c": '/* wt. */\n#include "front/wt.h"\n#include "front/conn.h"\n',
    "proxy/back/link.h": "/* link - a. */\n#include <sys/uio.h>\n",
    "protocol/message.h": "/* message - a. */\n",
    "proxy/relay_send.c": '/* relay. */\n#include "front/wt.h"\n#include "back/link.h"\n'
                          '#include "protocol/message.h"\n',
    "backends/c/app.c": '/* app. */\n#include "protocol/message.h"\n',
    "tests/unit/test_turn.c": '/* tests. */\n#include "base/turn.h"\n#include <cmocka.h>\n',
    "tests/unit/meson.build": "names = ['turn']\n",
    "tests/support/world.h": "/* world - a. */\n",
}

BAD = {
    "front_to_back": (
        lint.folder_arrows, {"proxy/front/wt.c": '/* */\n#include "back/link.h"\n'},
        "proxy/front/wt.c:2: proxy/front must not include proxy/back/link.h"),
    "back_to_protocol": (
        lint.folder_arrows, {"proxy/back/link.c": '/* */\n#include "protocol/message.h"\n'},
        "proxy/back must not include protocol/message.h"),
    "base_to_front": (
        lint.folder_arrows, {"proxy/base/turn.c": '/* */\n#include "front/wt.h"\n'},
        "proxy/base must not include proxy/front/wt.h"),
    "protocol_to_base": (
        lint.folder_arrows, {"protocol/message.c": '/* */\n#include "base/turn.h"\n'},
        "protocol must not include proxy/base/turn.h"),
    "backend_to_proxy": (
        lint.folder_arrows, {"backends/c/b.c": '/* */\n#include "base/turn.h"\n'},
        "backends/c must not include proxy/base/turn.h"),
    "main_to_front": (
        lint.folder_arrows, {"proxy/main.c": '/* */\n#include "front/wt.h"\n'},
        "proxy must not include proxy/front/wt.h"),
    "up_inside_front": (
        lint.module_order, {"proxy/front/conn.c": '/* */\n#include "front/wt.h"\n'},
        "conn must not include wt"),
    "module_without_a_place": (
        lint.module_order, {"proxy/front/magic.c": '/* */\n#include "front/conn.h"\n'},
        "the module magic has no place"),
    "internal_header_of_another": (
        lint.internal_headers, {"proxy/front/wt.c": '/* */\n#include "front/h3_internal.h"\n'},
        "is for proxy/front/h3*.c only"),
    "shipped_code_uses_tests": (
        lint.tests_stay_out, {"proxy/main.c": '/* */\n#include "tests/support/world.h"\n'},
        "must not include tests/support/world.h"),
    "include_of_nothing": (
        lint.includes_found, {"proxy/main.c": '/* */\n#include "nowhere.h"\n'},
        'there is no file "nowhere.h"'),
    "library_elsewhere": (
        lint.library_containment, {"proxy/front/wt.c": "/* */\n#include <nghttp3/nghttp3.h>\n"},
        "may include <nghttp3/nghttp3.h>"),
    "library_unknown": (
        lint.library_containment, {"proxy/base/turn.c": "/* */\n#include <openssl/ssl.h>\n"},
        "<openssl/ssl.h> belongs to no library"),
    "circle": (
        lint.include_circles, {"proxy/base/a.h": '/* */\n#include "base/b.h"\n',
                               "proxy/base/b.h": '/* */\n#include "base/a.h"\n'},
        "proxy/base/a.h -> proxy/base/b.h -> proxy/base/a.h"),
    "long_file": (
        lint.file_length, {"proxy/base/turn.c": "/* */\n" * 701},
        "proxy/base/turn.c: 701 lines"),
    "long_c_function": (
        lint.function_length,
        {"proxy/base/turn.c": "/* */\n\nstatic int go(int a,\n       int b)\n{\n" + "    a++;\n" * 58
                              + "}\n"},
        "proxy/base/turn.c:3: go has 62 lines"),
    "long_python_function": (
        lint.function_length, {"tests/a.py": "def go():\n" + "    pass\n" * 60},
        "tests/a.py:1: go has 61 lines"),
    "empty_name": (
        lint.file_names, {"proxy/base/str_util.c": "/* */\n"}, "a name that says nothing"),
    "leftover": (
        lint.no_leftovers, {"proxy/base/turn.c": "/* */\n// TO" "DO later\n"},
        "proxy/base/turn.c:2: TO" "DO"),
    "machine_path": (
        lint.no_machine_paths, {"docs/a.md": "cd /home/" "someone/sluice\n"}, "docs/a.md:1:"),
    "no_opening_comment": (
        lint.opening_comments, {"proxy/base/turn.c": "#include <stdio.h>\n"},
        "proxy/base/turn.c:1: a file opens with a paragraph"),
    "test_in_no_run": (
        lint.tests_registered, {"tests/unit/test_link.c": "/* */\n"},
        "tests/unit/test_link.c: is in no test run"),
    "broken_python": (
        lint.python_compiles, {"tests/a.py": "def go(:\n"}, "tests/a.py:1:"),
}


def plant(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return lint.Tree(root)


@pytest.mark.parametrize("rule", [r for r in lint.RULES if r is not lint.formatter_clean],
                         ids=lambda r: r.__name__)
def test_clean_tree_has_no_findings(rule, tmp_path):
    assert list(rule(plant(tmp_path, CLEAN))) == []


@pytest.mark.parametrize("case", BAD)
def test_violation_is_found(case, tmp_path):
    rule, files, expected = BAD[case]
    findings = list(rule(plant(tmp_path, {**CLEAN, **files})))
    assert len(findings) == 1, findings
    assert expected in findings[0]


def test_every_rule_has_a_violation():
    assert {rule for rule, _, _ in BAD.values()} == set(lint.RULES) - {lint.formatter_clean}


@pytest.mark.skipif(not lint.shutil.which("clang-format"), reason="clang-format is not installed")
def test_unformatted_file_is_found(tmp_path):
    files = {".clang-format": "BasedOnStyle: LLVM\n", "proxy/base/turn.c": "int  a;\nint b ;\n"}
    findings = list(lint.formatter_clean(plant(tmp_path, files)))
    assert len(findings) == 1 and findings[0].startswith("proxy/base/turn.c:1: is not formatted")


def test_long_file_is_a_warning_first(tmp_path, capsys):
    tree = plant(tmp_path, {"proxy/base/turn.c": "/* */\n" * 650})
    assert list(lint.file_length(tree)) == []
    assert "warning: proxy/base/turn.c has 650 lines" in capsys.readouterr().out


def test_exit_status_tells_the_verdict(tmp_path, capsys):
    clean = {n: t for n, t in CLEAN.items() if not n.endswith((".c", ".h"))}
    assert lint.run(plant(tmp_path, clean)) == 0
    assert lint.run(plant(tmp_path, {"proxy/base/helper.py": ""})) == 1
    assert "not ok file names" in capsys.readouterr().out
