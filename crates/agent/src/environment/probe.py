"""Says what an interpreter is and where its packages are, in one line of JSON behind a word that tells it."""

import json
import os
import platform
import sys
import sysconfig

paths = sysconfig.get_paths()
print("python: " + json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "release": platform.python_version(),
    "base": getattr(sys, "_base_executable", None) or sys.executable,
    "sites": sorted({paths["purelib"], paths["platlib"]}),
    "prefix": sys.prefix,
    "bin": paths["scripts"],
    "variables": sorted(os.environ.items()),
}), flush=True)
