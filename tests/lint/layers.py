#!/usr/bin/env python3
"""Who may include whom, and which room a library's header belongs to."""

import re
import sys

import source

# Room: what its files may include besides themselves; a room as a whole, or one header of it.
MAY_INCLUDE = {
    "proto": {"daemon/base"},
    "conf": set(),
    "daemon/base": set(),
    "daemon/loop": {"daemon/base"},
    "daemon/config": {"daemon/base", "conf", "proto"},
    "daemon/journal": {"daemon/base"},
    "daemon/net": {"daemon/base", "daemon/loop", "daemon/config", "proto"},
    "daemon/tools": {"daemon/base", "daemon/loop", "daemon/config", "daemon/journal", "daemon/net", "proto"},
    # config.h: a tool's classes and limits are rows of the snapshot; spec only reads them.
    "daemon/spec": {"daemon/base", "daemon/config/config.h", "daemon/journal/journal.h", "daemon/tools/tool.h",
                    "proto"},
    "daemon/session": {"daemon/base", "daemon/config", "daemon/journal", "daemon/spec", "daemon/tools/tool.h",
                       "proto"},
    "daemon/admin": {"daemon/base", "daemon/loop", "daemon/config", "daemon/net", "daemon/journal",
                     "daemon/session"},
    "daemon": None,  # main.c, server.c and their like know all
    "tests": None,
}

# Header of a library: the only rooms that may include it; the first pattern that matches counts.
PINNED = [
    (r"ev\.h", {"daemon/loop"}),
    (r"libwebsockets\.h", {"daemon/net"}),
    (r"curl/.*", {"daemon/net"}),
    (r"openssl/(ssl|err|x509|x509v3|bio)\.h", {"daemon/net"}),
    (r"openssl/.*", {"daemon/base", "daemon/net", "proto"}),
    (r"sqlite3\.h", {"daemon/journal"}),
    (r"toml\+\+/.*", {"daemon/config"}),
    (r"pcre2\.h", {"daemon/tools"}),
    (r"systemd/.*", {"daemon"}),
    (r"microhttpd\.h|check\.h", set()),
    (r"netdb\.h|netinet/.*|arpa/inet\.h", {"daemon/net", "daemon/config"}),
    (r"sys/socket\.h", {"daemon/net", "daemon/config", "daemon/admin"}),  # admin: the control socket
    # proto, spec and session are pure: no thread, no clock, no descriptor.
    (r"pthread\.h|time\.h|sys/time\.h|unistd\.h|fcntl\.h|poll\.h|sys/epoll\.h",
     {"daemon", "daemon/base", "daemon/loop", "daemon/config", "daemon/journal", "daemon/net", "daemon/tools",
      "daemon/admin"}),
]

PRIVATE = re.compile(r"(^|_)internal\.h$")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"\n]+)[>"]', re.MULTILINE)


def room_of(path):
    return max((room for room in MAY_INCLUDE if path.startswith(room + "/")), key=len, default=None)


def judge_own(path, room, target):
    """What is wrong with including a header of the project; None: nothing."""
    other = room_of(target)
    if other is None:
        return f'"{target}" is not named from the root of the project'
    if other == room:
        return None
    if PRIVATE.search(target):
        return f"{target} is private to {other}"
    allowed = MAY_INCLUDE[room]
    if allowed is not None and other not in allowed and target not in allowed:
        return f"{room} may not include {target}"
    return None


def judge_library(room, target):
    for pattern, rooms in PINNED:
        if re.fullmatch(pattern, target):
            if room in rooms:
                return None
            return f"<{target}> belongs to {' and '.join(sorted(rooms)) or 'tests'}, not to {room}"
    return None


def findings(root):
    found = []
    for path in source.files(root, ".c", ".h", ".cc", ".def"):
        room = room_of(path)
        if room == "tests":
            continue
        text = source.blank(source.read(root, path), strings=False)
        for match in INCLUDE.finditer(text):
            own = match.group(1) == '"'
            wrong = judge_own(path, room, match.group(2)) if own else judge_library(room, match.group(2))
            if room is None:
                wrong = "this file is in no room"
            if wrong:
                found.append(f"{path}:{source.line_of(text, match.start())}: {wrong}")
    return found


if __name__ == "__main__":
    sys.exit(source.main(findings))
