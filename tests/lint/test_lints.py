#!/usr/bin/env python3
"""A check that cannot fail is a defect: each lint must notice what is planted, and be silent about what is right.

test_lints.py COMPILER...
"""

import json
import sys
import tempfile
import unittest
from pathlib import Path
from shutil import which

sys.dont_write_bytecode = True
import banned  # noqa: E402
import complexity  # noqa: E402
import format as formatting  # noqa: E402
import fsm  # noqa: E402
import headers  # noqa: E402
import layers  # noqa: E402
import metrics  # noqa: E402
import source  # noqa: E402
import spelling  # noqa: E402
import states  # noqa: E402
import suites  # noqa: E402
import tidy  # noqa: E402

COMPILER = sys.argv[1:]
ROOT = Path(__file__).resolve().parents[2]


class Case(unittest.TestCase):
    def plant(self, **contents):
        """A tree of files; in the names __ stands for a slash and _dot_ for a dot."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in contents.items():
            self.put(folder.name, name.replace("__", "/").replace("_dot_", "."), text)
        return folder.name

    def put(self, root, path, text):
        path = Path(root) / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def one(self, found, *words):
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])


class Layers(Case):
    def judge(self, path, text):
        root = self.plant()
        self.put(root, path, text)
        return layers.findings(root)

    def test_upward_include(self):
        self.one(self.judge("proto/ws.c", '\n#include "daemon/net/link.h"\n'),
                 "proto/ws.c:2:", "proto may not include daemon/net/link.h")
        self.one(self.judge("daemon/session/a.h", '#include "daemon/net/link.h"'), "may not include")
        self.one(self.judge("daemon/session/a.h", '#include "daemon/tools/host.h"'), "may not include")
        self.one(self.judge("daemon/base/a.c", '#  include "daemon/loop/loop.h"'), "may not include")

    def test_allowed(self):
        for path, text in (("daemon/session/a.c", '#include "daemon/tools/tool.h"\n#include "proto/ws.h"\n'),
                           ("daemon/loop/loop.c", "#include <ev.h>\n#include <time.h>\n"),
                           ("daemon/main.c", '#include "daemon/net/accept.h"'),
                           ("tests/unit/a.c", "#include <ev.h>"),
                           ("daemon/base/a.c", '/* #include "daemon/loop/loop.h" */')):
            self.assertEqual(self.judge(path, text), [])

    def test_pinned_library(self):
        for header, stranger in (("ev.h", "daemon/net/a.c"), ("libwebsockets.h", "daemon/a.c"),
                                 ("curl/curl.h", "daemon/tools/a.c"), ("openssl/ssl.h", "proto/a.c"),
                                 ("openssl/evp.h", "daemon/journal/a.c"), ("sqlite3.h", "daemon/admin/a.c"),
                                 ("toml++/toml.h", "daemon/a.cc"), ("systemd/sd-daemon.h", "daemon/base/a.c"),
                                 ("pcre2.h", "proto/a.c"), ("pthread.h", "daemon/session/a.c"),
                                 ("time.h", "daemon/spec/a.c")):
            self.one(self.judge(stranger, f"#include <{header}>"), f"<{header}> belongs to")

    def test_private_and_unrooted(self):
        self.one(self.judge("daemon/a.c", '#include "daemon/net/link_internal.h"'), "private to daemon/net")
        self.one(self.judge("daemon/net/a.c", '#include "link.h"'), "from the root")

    def test_file_without_room(self):
        self.one(self.judge("other/a.c", "#include <stdio.h>"), "in no room")


class Banned(Case):
    def judge(self, path, text):
        root = self.plant()
        self.put(root, path, text)
        return banned.findings(root)

    def test_functions(self):
        for names, _, _ in banned.FUNCTIONS:
            for name in names.split():
                self.one(self.judge("daemon/a.c", f"\n\tx = {name} (y);"), f"daemon/a.c:2: {name}()")

    def test_not_a_call_of_that_function(self):
        for text in ("/* getaddrinfo() blocks */", '"sleep(1)"', "loop->time(x)", "world.sleep(1)", "bc_system(x)",
                     "struct flock whole = {0};", "time_left(x)"):
            self.assertEqual(self.judge("daemon/a.c", text), [], text)

    def test_where_allowed(self):
        self.assertEqual(self.judge("daemon/net/resolver.c", "getaddrinfo(a, b, c, d);"), [])
        self.assertEqual(self.judge("daemon/journal/a.c", "fsync(fd);"), [])
        self.assertEqual(self.judge("tests/world/a.c", "usleep(1);"), [])
        self.one(self.judge("tests/world/a.c", "strcpy(a, b);"), "strcpy")

    def test_words(self):
        for text in ("/* TODO: more */", "# FIXME", "see /home/someone/notes", "from /wor" "k/main/x",
                     "https://registry.np" "mjs.org/ws", "as issue 12 says", "(see #7)"):
            self.one(self.judge("README.md", text), "README.md:1: ")

    def test_ordinary_words(self):
        for text in ("a/work/b", "/var/lib/backchannel", "issue a ticket", "&#39;", "#1f2e3d", "mkstemp XXXXXX",
                     "http://host/home/x"):
            self.assertEqual(self.judge("README.md", text), [], text)


class States(Case):
    MOVER = "void sess_move(struct sess *sess)\n{\n\tsess->state = next;\n}\n"

    def test_second_writer(self):
        root = self.plant(daemon__session__session_dot_c=self.MOVER
                          + "\nstatic void other(struct sess *sess)\n{\n\tsess->state = SESS_OPEN;\n}\n")
        self.one(states.findings(root), "session.c:8: other assigns a state; only sess_move may")

    def test_writer_elsewhere(self):
        for text in ("a->state = 1;", "a.lane = 1;", "a->b.state++;", "--a->state;", "a->state |= 2;"):
            root = self.plant(daemon__session__fields_dot_c=f"void f(void)\n{{\n\t{text}\n}}\n")
            self.one(states.findings(root), "fields.c:3: f assigns a state")

    def test_readers(self):
        root = self.plant(daemon__session__session_dot_c=self.MOVER
                          + "bool f(void)\n{\n\treturn a->state == b || a->state_count = 1;\n}\n")
        self.assertEqual(states.findings(root), [])

    def test_mover_that_moves_nothing(self):
        root = self.plant(daemon__session__session_dot_c="void sess_move(void)\n{\n}\n")
        self.one(states.findings(root), "does not")

    def test_machine_without_mover(self):
        self.one(states.findings(self.plant(daemon__net__link_fsm_dot_def="")), "no mover")


class Machines(Case):
    GOOD = ('STATE(A, "a")\nSTATE(B, "b")\nEVENT(GO, "go")\nEVENT(STAY, "stay")\n'
            "EDGE(A, GO, B)\nEDGE(B, STAY, B)\n")

    def judge(self, text):
        root = self.plant(daemon__x__y_fsm_dot_def=text)
        fsm.write(root)
        return fsm.findings(root)

    def test_sound(self):
        self.assertEqual(self.judge(self.GOOD), [])
        self.assertEqual(self.judge(self.GOOD + "EDGE(B, GO, A)\n"), [])  # goes round

    def test_unreached_state(self):
        self.one(self.judge(self.GOOD + 'STATE(C, "c")\nEDGE(C, GO, B)\n'), "y_fsm.def:7: state C is never reached")

    def test_trap(self):
        found = self.judge(self.GOOD + 'STATE(C, "c")\nSTATE(D, "d")\nEDGE(A, STAY, C)\nEDGE(C, GO, D)\n'
                           "EDGE(D, GO, C)\n")
        self.assertEqual(len(found), 2)
        self.assertIn("from state C no end is reached", found[0])

    def test_no_way_back(self):
        found = self.judge('STATE(A, "a")\nSTATE(B, "b")\nSTATE(C, "c")\nEVENT(GO, "go")\n'
                           "EDGE(A, GO, B)\nEDGE(B, GO, C)\nEDGE(C, GO, B)\n")
        self.assertIn("from state B no way back to A is reached", found[0])

    def test_rows(self):
        self.one(self.judge(self.GOOD + "EDGE(A, GO, A)\n"), "a second edge from A on GO")
        self.one(self.judge(self.GOOD + "EDGE(A, STAY, Z)\n"), "Z is not declared")
        self.one(self.judge(self.GOOD + 'EVENT(NO, "no")\n'), "event NO leads nowhere")
        self.one(self.judge(self.GOOD + 'STATE(A, "a")\n'), "A is declared twice")
        self.one(self.judge(""), "no states")

    def test_drawing(self):
        root = self.plant(daemon__x__y_fsm_dot_def=self.GOOD)
        self.one(fsm.findings(root), "differs from tests/golden/y.dot")
        fsm.write(root)
        self.put(root, "daemon/x/y_fsm.def", self.GOOD.replace("EDGE(B, STAY, B)", "EDGE(A, STAY, B)"))
        self.one(fsm.findings(root), "differs")
        self.put(root, "daemon/x/y_fsm.def", self.GOOD)
        self.put(root, "tests/golden/z.dot", "digraph z {}\n")
        self.one(fsm.findings(root), "no such machine")

    def test_two_machines_of_one_name(self):
        root = self.plant(daemon__x__y_fsm_dot_def=self.GOOD, daemon__z__y_fsm_dot_def=self.GOOD)
        self.assertTrue(any("second machine" in line for line in fsm.findings(root)))


class Metrics(Case):
    def test_unused(self):
        root = self.plant(daemon__base__metric_dot_def='METRIC(ONE, "one", COUNTER, "")\nMETRIC(TWO, "two", GAUGE, "")',
                          daemon__a_dot_c="bc_metric_inc(BC_M_ONE); /* not BC_M_TWO */")
        self.one(metrics.findings(root), "metric.def:2: TWO is published and never counted")


class Headers(Case):
    def test_alone(self):
        root = self.plant(daemon__good_dot_h="#ifndef G\n#define G\n#include <stdint.h>\nuint32_t f(void);\n#endif\n",
                          daemon__bad_dot_h="#ifndef B\n#define B\nuint32_t g(void);\n#endif\n",
                          proto__open_dot_h="struct twice {\n\tint x;\n};\n")
        found = headers.findings(root, *COMPILER)
        self.assertEqual([line.split(":")[0] for line in found], ["daemon/bad.h", "proto/open.h"])


class Suites(Case):
    FILE = ("class Base(Case):\n    def begin(self):\n        pass\n\n\n"
            "class One(Base):\n    def test_a(self):\n        pass\n\n\n"
            "class Two(Base):\n    def test_b(self):\n        pass\n")

    def judge(self, rows):
        return suites.findings(self.plant(tests__e2e__test_x_dot_py=self.FILE, tests__e2e__meson_dot_build=rows))

    def test_forgotten(self):
        self.one(self.judge("'x': ['x', 'One', 120],\n"), "tests/e2e/test_x.py: no row", "runs Two")

    def test_all_run(self):
        self.assertEqual(self.judge("'x one': ['x', 'One', 120],\n'x two': ['x', 'Two', 120],\n"), [])
        self.assertEqual(self.judge("'x': ['x', '', 120],\n"), [])


@unittest.skipUnless(which("pmccabe"), "no pmccabe")
class Complexity(Case):
    def judge(self, text):
        return complexity.findings(self.plant(daemon__a_dot_c=text), which("pmccabe"))

    def test_function(self):
        body = "int f(int x)\n{\n%s\treturn x;\n}\n"
        self.assertEqual(self.judge(body % ("\tx++;\n" * 60)), [])
        self.one(self.judge(body % ("\tx++;\n" * 70)), "daemon/a.c:1: f has", "74 lines")
        self.one(self.judge(body % ("\tif (x) {\n\t\tx++;\n\t}\n" * 15)), "f has complexity 16")

    def test_file(self):
        self.one(self.judge("int x;\n" * 601), "daemon/a.c:601: at most 600 lines")


@unittest.skipUnless(which("codespell"), "no codespell")
class Spelling(Case):
    def test_misspelt(self):
        wrong = "rec" + "ieve"
        self.one(spelling.findings(self.plant(daemon__a_dot_c=f"\n/* {wrong} */\n"), which("codespell")),
                 "daemon/a.c:2: ")
        root = self.plant(tests__a_dot_c=f'x = "{wrong}"; /* right */\n', tests__b_dot_c=f"/* {wrong} */\n")
        self.one(spelling.findings(root, which("codespell")), "tests/b.c:1: ")


@unittest.skipUnless(which("clang-format"), "no clang-format")
class Format(Case):
    def test_unformatted(self):
        root = self.plant(a_dot_c="int f( void ) { return 0; }\n", b_dot_c="int x;\n")
        self.put(root, ".clang-format", (ROOT / ".clang-format").read_text(encoding="utf-8"))
        self.one(formatting.findings(root, which("clang-format")), "a.c:1: not formatted")


@unittest.skipUnless(which("clang-tidy"), "no clang-tidy")
class Tidy(Case):
    def test_finding(self):
        root = self.plant(daemon__a_dot_c="int f(int x);\nint f(int x)\n{\n\tif (x)\n\t\treturn 1;\n\treturn 0;\n}\n",
                          daemon__b_dot_c="int g(int y);\nint g(int y)\n{\n\treturn y;\n}\n")
        self.put(root, ".clang-tidy", (ROOT / ".clang-tidy").read_text(encoding="utf-8"))
        self.put(root, "build/compile_commands.json", json.dumps(
            [{"directory": f"{root}/build", "file": f"../daemon/{name}.c", "command": f"cc -c ../daemon/{name}.c"}
             for name in "ab"]))
        self.one(tidy.findings(root, which("clang-tidy"), f"{root}/build", "--checks=-clang-analyzer-*"),
                 "daemon/a.c:4: statement should be inside braces")


class Source(Case):
    def test_blanks(self):
        text = 'a /* "b\n" */ "/* c" \'"\' // d\ne'
        self.assertEqual(source.blank(text).split(), ["a", "e"])
        self.assertEqual(source.blank(text).count("\n"), 2)
        self.assertEqual(len(source.blank(text)), len(text))
        self.assertIn('"/* c"', source.blank(text, strings=False))
        self.assertIn("// d", source.blank(text, comments=False))

    def test_files(self):
        root = self.plant(daemon__a_dot_c="", build_x__b_dot_c="", node_modules__c_dot_c="", d_dot_h="")
        self.assertEqual(source.files(root, ".c", ".h"), ["d.h", "daemon/a.c"])
        self.assertTrue({"meson.build", "daemon/base/err.c"} <= set(source.files(ROOT)))

    def test_functions(self):
        text = "static int one(int a,\n\t       int b)\n{\n\treturn 1;\n}\n\nvoid two(void)\n{\n}\n"
        self.assertEqual(list(source.functions(text)), [("one", 1, 5), ("two", 7, 9)])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
