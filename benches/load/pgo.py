"""Builds the gateway with the profile of its own work: an instrumented build serves the cases of the comparison, and the
compiler lays out and inlines the real one by what that counted (profile-guided optimisation, as rustc's book has it). Where
there is an `llvm-bolt`, that build serves once more, and its machine code is put in the order in which it runs (BOLT, as the
documentation of LLVM has it).

    python3 benches/load/pgo.py            # some 20 minutes; the binary is target/pgo/portcullis

Needs what `run.py` needs for Portcullis alone, and an `llvm-profdata` of the compiler's LLVM: `rustup component add llvm-tools`,
or the package `llvm-NN` of the system, or its path in LLVM_PROFDATA. `llvm-bolt` and `merge-fdata` are in the package `bolt-NN`.
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


def tool(name, version, *others):
    """Where a tool of the compiler's LLVM is, if it is anywhere."""
    places = [*others, shutil.which(f"{name}-{version}"), f"/usr/lib/llvm-{version}/bin/{name}"]
    return next((place for place in places if place and os.path.exists(place)), None)


def profdata(host, version, root):
    """The tool that joins profiles."""
    found = tool("llvm-profdata", version, os.environ.get("LLVM_PROFDATA"),
                 os.path.join(root, "lib", "rustlib", host, "bin", "llvm-profdata"))
    if not found:
        sys.exit(f"there is no llvm-profdata of LLVM {version}: rustup component add llvm-tools, or apt-get install llvm-{version}")
    return found


def build(host, flag, folder):
    """A build for operators with a flag more; where the binary is."""
    # With a target named, build scripts are built without the flag.
    environment = {**os.environ, "RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} {flag}".strip(), "CARGO_TARGET_DIR": folder}
    command = ["cargo", "build", "--release", "--locked", "--bin", "portcullis", "--target", host]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return os.path.join(folder, host, "release", "portcullis")


def serve(binary):
    """Has a gateway serve all cases it learns from; it writes its counts when it ends."""
    for cases in CASES:
        subprocess.run([sys.executable, os.path.join(ROOT, "benches", "load", "run.py"), "--cases", cases, "--peers", "portcullis",
                        "--rounds", "1", "--binary", binary, "--out", os.path.join(WORK, "run")], check=True)


def laid_out(built, version):
    """The same program with its machine code in the order in which it runs; `None` without the tools for that."""
    bolt, merge = tool("llvm-bolt", version, os.environ.get("LLVM_BOLT")), tool("merge-fdata", version)
    if not bolt or not merge:
        return None
    counts, counting = os.path.join(WORK, "branches"), os.path.join(WORK, "portcullis-counting")
    shutil.rmtree(counts, ignore_errors=True)
    os.makedirs(counts)
    subprocess.run([bolt, built, "-instrument", f"--instrumentation-file={counts}/of", "--instrumentation-file-append-pid",
                    "-o", counting], check=True)
    serve(counting)
    told = glob.glob(os.path.join(counts, "of*"))
    if not told:
        sys.exit(f"the gateway left no counts of its branches in {counts}")
    whole, done = os.path.join(WORK, "portcullis.fdata"), os.path.join(WORK, "portcullis-laid-out")
    with open(whole, "w", encoding="ascii") as out:
        subprocess.run([merge, *told], check=True, stdout=out)
    subprocess.run([bolt, built, f"-data={whole}", "-o", done, "-reorder-blocks=ext-tsp", "-reorder-functions=cdsort",
                    "-split-functions", "-split-all-cold", "-icf=1", "-use-gnu-stack"], check=True)
    return done


def main():
    """Builds, serves, and builds again."""
    host, version, root = compiler()
    join = profdata(host, version, root)
    counts = os.path.join(WORK, "counts")
    shutil.rmtree(counts, ignore_errors=True)
    serve(build(host, f"-Cprofile-generate={counts}", os.path.join(WORK, "counting")))
    profiles = glob.glob(os.path.join(counts, "*.profraw"))
    if not profiles:
        sys.exit(f"the instrumented gateway left no profile in {counts}: it must end by itself for that, on SIGTERM")
    profile = os.path.join(WORK, "portcullis.profdata")
    subprocess.run([join, "merge", "-o", profile, *profiles], check=True)
    # What BOLT moves, it must know all references to.
    built = build(host, f"-Cprofile-use={profile} -Clink-arg=-Wl,--emit-relocs", os.path.join(WORK, "using"))
    best = laid_out(built, version)
    shutil.copy2(best or built, os.path.join(WORK, "portcullis"))
    print("laid out by llvm-bolt" if best else f"no llvm-bolt of LLVM {version} was found, so the code is as the linker left it")
    print(f"{os.path.join(WORK, 'portcullis')}\npython3 benches/load/run.py --binary target/pgo/portcullis")


if __name__ == "__main__":
    main()
