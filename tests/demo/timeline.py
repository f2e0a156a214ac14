"""Draws what happened in a turn as bars of characters on a time axis.

Pure text in, pure text out: a chart is a list of lines no wider than 100 characters, in ASCII, so that it
looks the same on every terminal and in every log.
"""

import math

WIDTH = 100
LABEL = 18  # characters in front of the axis, with the blank behind them
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


class Row:
    """One line of a chart: a name and bars, each (begin, end, character) in seconds."""

    def __init__(self, name, bars, note=None):
        self.name = name
        self.bars = bars
        self.note = note  # (time, text): written behind that time if there is room


class Axis:
    """Maps the seconds from begin to end to the columns of a chart; marks stand at round numbers."""

    def __init__(self, begin, end, width=WIDTH):
        self.begin = begin
        self.columns = width - LABEL
        self.seconds = max(end - begin, 0.001)

    def column(self, time):
        place = int((time - self.begin) / self.seconds * self.columns + 1e-6)
        return max(0, min(place, self.columns - 1))

    def step(self):
        """Seconds between two marks: the least that leaves ten columns for a label."""
        least = self.seconds / self.columns * 10
        return next((step for step in STEPS if step >= least), STEPS[-1])

    def marks(self):
        step = self.step()
        first = math.ceil(self.begin / step - 1e-9)
        last = math.floor((self.begin + self.seconds) / step + 1e-9)
        return [mark * step for mark in range(first, last + 1)]

    def lines(self):
        """The ruler: a line of numbers, a line of ticks."""
        numbers = [" "] * self.columns
        ticks = ["-"] * self.columns
        for mark in self.marks():
            place = self.column(mark)
            text = f"{round(mark, 6):g}s"
            ticks[place] = "|"
            if place + len(text) <= self.columns:
                numbers[place:place + len(text)] = text
        return [(" " * LABEL + "".join(line)).rstrip() for line in (numbers, ticks)]


def draw_row(row, axis):
    """One line; a bar is never shorter than one column, a later bar is drawn over an earlier one."""
    cells = [" "] * axis.columns
    limit = axis.begin + axis.seconds
    for begin, end, sign in row.bars:
        if end < axis.begin or begin > limit:
            continue
        first = axis.column(begin)
        last = max(first, axis.column(end) - (end < limit))
        cells[first:last + 1] = sign * (last + 1 - first)
    if row.note:
        write_note(cells, axis.column(row.note[0]) + 1, row.note[1])
    return f"  {row.name[:LABEL - 3]:<{LABEL - 2}}{''.join(cells)}".rstrip()


def write_note(cells, place, text):
    """Put a text into blank cells from place on, or in front of what stands there, or nowhere."""
    for start in (place + 1, place - 2 - len(text)):
        if start >= 0 and start + len(text) <= len(cells) and \
                all(cell == " " for cell in cells[start:start + len(text)]):
            cells[start:start + len(text)] = text
            return


def draw(charts, begin, end, width=WIDTH):
    """Charts (title, rows) below one ruler, all with the same scale."""
    axis = Axis(begin, end, width)
    lines = axis.lines()
    for title, rows in charts:
        lines.append(title[:width])
        lines += [draw_row(row, axis) for row in rows]
    return lines


def wrap(text, width=WIDTH, indent="  "):
    """Words of a text in lines no wider than width, each behind the indent."""
    lines = []
    line = indent
    for word in text.split():
        if len(line) + len(word) + 1 > width and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += word + " "
    return lines + [line.rstrip()] if line.strip() else lines
