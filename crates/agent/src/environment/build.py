"""Makes the environment that tasks have in common: run by the machine's Python, in a sandbox, by a user who is nobody.

Arguments: where the environment goes, the lock file, and the interpreter that its programs are to name. What is printed
is shown to whoever waits; the last word of a failure is why.
"""

import configparser
import glob
import os
import re
import shutil
import subprocess
import sys

PLACE, LOCK, INTERPRETER = sys.argv[1:]
PYTHON = os.path.join(PLACE, "bin", "python3")

# What uv calls pip's settings.
NAMES_IN_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
}


def run(*words, **options):
    status = subprocess.run(words, stdin=subprocess.DEVNULL, **options).returncode
    if status != 0:
        # It has said why itself.
        sys.exit(1)


def check_machine():
    version = "%d.%d" % sys.version_info[:2]
    if sys.version_info < (3, 10):
        sys.exit(f"{sys.executable} is Python {version}, and the environment needs 3.10 or newer: install one, or name a prefix")
    try:
        import ensurepip, venv  # noqa: F401, E401
    except ImportError:
        sys.exit(
            f"{sys.executable} can't make virtual environments: install its package for that (on Debian and Ubuntu: "
            f"apt-get install python3-venv, or python{version}-venv)"
        )


def settings_of_pip():
    """uv doesn't read pip's configuration, and people who have an index of their own have told pip."""
    files = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", os.environ.get("PIP_CONFIG_FILE")]
    parser = configparser.RawConfigParser()
    parser.read([file for file in files if file], encoding="utf-8")
    found = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found.update(parser.items(section))
    for name, value in os.environ.items():
        if name.startswith("PIP_"):
            found[name[4:].lower().replace("_", "-")] = value
    return found


def by_uv(uv):
    print("making it with uv", flush=True)
    variables = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1", "UV_LINK_MODE": "copy"}
    for name, value in settings_of_pip().items():
        if name in NAMES_IN_UV:
            variables[NAMES_IN_UV[name]] = " ".join(value.split())
    environment = {**variables, **os.environ}
    run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, PLACE, env=environment)
    run(
        *(uv, "pip", "install", "--python", PYTHON, "--require-hashes", "--only-binary", ":all:", "-r", LOCK),
        env=environment,
    )


def by_pip():
    print("making it with venv and pip", flush=True)
    run(sys.executable, "-I", "-m", "venv", PLACE)
    # What runs of a package while it is installed is nothing: a wheel is unpacked.
    run(
        *(PYTHON, "-I", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "--no-compile"),
        *("--no-cache-dir", "--progress-bar", "off", "--disable-pip-version-check", "-r", LOCK),
    )


def name_interpreter():
    """Programs run with the interpreter that a task has of its own, so that they see what it has installed."""
    own = re.compile(rb"\A#!" + re.escape(PLACE.encode()) + rb"/bin/python[0-9.]*")
    for path in glob.glob(os.path.join(PLACE, "bin", "*")):
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            content = file.read()
        changed = own.sub(b"#!" + INTERPRETER.encode(), content, count=1)
        if changed != content:
            with open(path, "wb") as file:
                file.write(changed)


def count_packages():
    return len(glob.glob(os.path.join(PLACE, "lib", "python*", "site-packages", "*.dist-info")))


check_machine()
uv = shutil.which("uv")
(by_uv(uv) if uv else by_pip())
print(f"compiling {count_packages()} packages", flush=True)
# What can't be compiled is a template or for another Python.
subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", "-q", "-j", "0", os.path.join(PLACE, "lib")], check=False)
name_interpreter()
