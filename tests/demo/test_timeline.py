#!/usr/bin/env python3
"""The demo's charts: where bars begin and end, what happens at the edges, how wide lines get."""
import sys
import unittest

from timeline import LABEL, WIDTH, Axis, Row, draw, draw_row, wrap


def cells(line):
    return line[LABEL:]


class Bars(unittest.TestCase):
    def setUp(self):
        self.axis = Axis(100, 110, LABEL + 50)  # five columns a second

    def row(self, *bars, note=None):
        return cells(draw_row(Row("x", bars, note), self.axis))

    def test_a_bar_covers_its_time(self):
        self.assertEqual(self.row((101, 103, "#")), " " * 5 + "#" * 10)

    def test_bars_that_touch_do_not_overlap(self):
        self.assertEqual(self.row((101, 102, "#"), (102, 103, ".")), " " * 5 + "#####.....")

    def test_a_moment_is_one_column(self):
        self.assertEqual(self.row((104, 104, "=")), " " * 20 + "=")
        self.assertEqual(self.row((104, 104.01, "=")), " " * 20 + "=")

    def test_the_edges_cut(self):
        self.assertEqual(self.row((90, 101, "#")), "#" * 5)
        self.assertEqual(self.row((109, 200, "#")), " " * 45 + "#" * 5)
        self.assertEqual(self.row((90, 95, "#"), (111, 112, "#")), "")
        self.assertEqual(self.row((90, 200, "#")), "#" * 50)

    def test_later_bars_lie_on_top(self):
        self.assertEqual(self.row((100, 104, "#"), (101, 102, "x")), "#####xxxxx##########")

    def test_a_note_stands_behind_its_time(self):
        self.assertEqual(self.row((101, 102, "#"), note=(102, "1 s")), " " * 5 + "#####  1 s")

    def test_a_note_moves_in_front_or_is_left_out(self):
        self.assertEqual(self.row((108, 110, "#"), note=(108, "end")), " " * 36 + "end " + "#" * 10)
        self.assertEqual(self.row((100, 110, "#"), note=(105, "end")), "#" * 50)


class Ruler(unittest.TestCase):
    def test_marks_stand_above_their_time(self):
        axis = Axis(-3, 7, LABEL + 50)
        numbers, ticks = axis.lines()
        self.assertEqual(cells(numbers).split(), ["-2s", "0s", "2s", "4s", "6s"])
        for mark in (-2, 0, 2, 4, 6):
            place = axis.column(mark)
            self.assertEqual(cells(ticks)[place], "|")
            self.assertTrue(cells(numbers)[place:].startswith(f"{mark}s"))

    def test_zero_is_a_mark_wherever_the_axis_begins(self):
        for begin in (-17.3, -2.05, -0.7, 0):
            self.assertIn("0s", Axis(begin, 3).lines()[0].split())

    def test_labels_never_run_into_each_other(self):
        for seconds in (0.3, 0.9, 1, 3.3, 7, 12, 29.9, 61, 200, 1000):
            numbers, _ = Axis(0, seconds).lines()
            for mark in numbers.split():
                self.assertRegex(mark, r"^-?[0-9.]+s$")

    def test_no_time_at_all(self):
        self.assertEqual(len(Axis(3, 3).lines()), 2)


class Charts(unittest.TestCase):
    def test_charts_share_one_scale(self):
        rows = [Row("caller", [(0, 4, "#")])]
        lines = draw([("plain", rows), ("speculative", rows)], 0, 10)
        self.assertEqual([line.split(" ")[0] for line in (lines[2], lines[4])], ["plain", "speculative"])
        self.assertEqual(lines[3], lines[5])

    def test_no_line_is_too_wide(self):
        rows = [Row("a_tool_with_a_very_long_name_indeed", [(0, 99, "=")], (98, "a note"))]
        for line in draw([("t" * 300, rows)], 0, 10):
            self.assertLessEqual(len(line), WIDTH)
            self.assertTrue(line.isascii())

    def test_long_names_leave_a_blank(self):
        line = draw_row(Row("a_tool_with_a_very_long_name_indeed", [(0, 1, "=")]), Axis(0, 1))
        self.assertEqual(line[LABEL - 1], " ")
        self.assertEqual(line[LABEL], "=")


class Texts(unittest.TestCase):
    def test_wrap(self):
        text = "word " * 60
        lines = wrap(text)
        self.assertGreater(len(lines), 1)
        self.assertEqual(" ".join(lines).split(), text.split())
        self.assertTrue(all(len(line) <= WIDTH for line in lines))

    def test_wrap_of_nothing(self):
        self.assertEqual(wrap(""), [])

    def test_wrap_of_one_long_word(self):
        self.assertEqual(wrap("x" * 150), ["  " + "x" * 150])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
