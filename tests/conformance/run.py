#!/usr/bin/env python3
"""Run one conformance test file under Node, with the packages of package-lock.json and a certificate it trusts.

Usage: run.py BUILD TEST.mjs

The packages are installed once, below tests/conformance/node_modules; tests that start at the same time wait
for the first.  Without Node or its packages nothing was proved, so that is a failure and never a skip.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_NEEDED = 18


def bail_out(why):
    print(f"Bail out! {why}")
    sys.exit(1)


def check_node():
    """The tests need Node's test runner with TAP output."""
    for program in ("node", "npm", "openssl"):
        if shutil.which(program) is None:
            bail_out(f"{program} is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_NEEDED:
        bail_out(f"node {version} is too old, {NODE_NEEDED} is needed")


def install():
    """Bring node_modules to what package-lock.json says."""
    with open(os.path.join(HERE, "package-lock.json"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256(lock.read()).hexdigest()
        stamp = os.path.join(HERE, "node_modules", ".installed")
        if os.path.exists(stamp):
            with open(stamp, encoding="ascii") as file:
                if file.read() == wanted:
                    return
        done = subprocess.run(["npm", "ci"], cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print("".join(f"# {line}\n" for line in (done.stdout + done.stderr).splitlines()), end="")
            bail_out("npm ci failed")
        with open(stamp, "w", encoding="ascii") as file:
            file.write(wanted)


def make_certificate(folder):
    """A certificate for localhost that is its own authority, valid for two days."""
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", os.path.join(folder, "key.pem"), "-out", os.path.join(folder, "cert.pem")],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        bail_out(f"openssl could not make a certificate: {done.stderr.strip()}")


def main(build, test):
    check_node()
    install()
    name = os.path.splitext(os.path.basename(test))[0]
    folder = os.path.join(os.path.abspath(build), "conformance", name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    make_certificate(folder)
    # Node reads the extra authority once, when it starts.
    os.environ.update(NODE_EXTRA_CA_CERTS=os.path.join(folder, "cert.pem"), CONFORMANCE_FOLDER=folder,
                      CONFORMANCE_BUILD=os.path.abspath(build), OPENAI_AGENTS_DISABLE_TRACING="1")
    os.execvp("node", ["node", "--test-reporter=tap", os.path.join(HERE, test)])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
