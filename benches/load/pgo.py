"""Builds the gateway with the profile of its own work: an instrumented build serves the cases of the comparison, and the
compiler lays out and inlines the real one by what that counted (profile-guided optimisation, as rustc's book has it).

    python3 benches/load/pgo.py            # some 15 minutes; the binary is target/pgo/portcullis

Needs what `run.py` needs for Portcullis alone, and an `llvm-profdata` of the compiler's LLVM: `rustup component add llvm-tools`,
or the package `llvm-NN` of the system, or its path in LLVM_PROFDATA.
"""

import glob
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "target", "pgo")
# What it learns from. Refusals have a run of their own, since they are the shorter ones.
CASES = ("tiny,realistic,tls,10k,h2-tls,many", "refusals")


def compiler():
    """The compiler's host, the version of its LLVM, and where it is."""
    said = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    told = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    root = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    return told["host"], told["LLVM version"].split(".")[0], root


def profdata(host, version, root):
    """The tool that joins profiles."""
    places = [os.environ.get("LLVM_PROFDATA"), os.path.join(root, "lib", "rustlib", host, "bin", "llvm-profdata"),
              shutil.which(f"llvm-profdata-{version}"), f"/usr/lib/llvm-{version}/bin/llvm-profdata"]
    found = next((place for place in places if place and os.path.exists(place)), None)
    if not found:
        sys.exit(f"there is no llvm-profdata of LLVM {version}: rustup component add llvm-tools, or apt-get install llvm-{version}")
    return found


def build(host, flag, folder):
    """A build of the `dist` profile with a flag more; where the binary is."""
    # With a target named, build scripts are built without the flag.
    environment = {**os.environ, "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} {flag}".strip(), "CARGO_TARGET_DIR": folder}
    command = ["cargo", "build", "--profile", "dist", "--locked", "--bin", "portcullis", "--target", host]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return os.path.join(folder, host, "dist", "portcullis")


def main():
    """Builds, serves, and builds again."""
    host, version, root = compiler()
    tool = profdata(host, version, root)
    counts = os.path.join(WORK, "counts")
    shutil.rmtree(counts, ignore_errors=True)
    counting = build(host, f"-Cprofile-generate={counts}", os.path.join(WORK, "counting"))
    for cases in CASES:
        subprocess.run([sys.executable, os.path.join(ROOT, "benches", "load", "run.py"), "--cases", cases, "--peers", "portcullis",
                        "--rounds", "1", "--binary", counting, "--out", os.path.join(WORK, "run")], check=True)
    profiles = glob.glob(os.path.join(counts, "*.profraw"))
    if not profiles:
        sys.exit(f"the instrumented gateway left no profile in {counts}: it must end by itself for that, on SIGTERM")
    profile = os.path.join(WORK, "portcullis.profdata")
    subprocess.run([tool, "merge", "-o", profile, *profiles], check=True)
    built = build(host, f"-Cprofile-use={profile}", os.path.join(WORK, "using"))
    shutil.copy2(built, os.path.join(WORK, "portcullis"))
    print(f"{os.path.join(WORK, 'portcullis')}\npython3 benches/load/run.py --binary target/pgo/portcullis")


if __name__ == "__main__":
    main()
