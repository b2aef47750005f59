"""The load generators: wrk (HTTP/1.1 as fast as it goes), h2load (HTTP/2), pace (HTTP/1.1 at a constant rate)."""

import json
import os
import re
import shutil
import subprocess

import process
import stats
import world as worlds

HERE = os.path.dirname(os.path.abspath(__file__))
CONNECTIONS = 64

# Sends the requests of a file in turn, as they stand there, and prints its figures as JSON.
WRK_SCRIPT = """
local requests, at = {}, 0
function init(arguments)
  local file = io.open(arguments[1], "rb")
  local text = file:read("*a")
  file:close()
  local from = 1
  while true do
    local _, last = text:find("\\r\\n\\r\\n", from, true)
    if not last then break end
    requests[#requests + 1] = text:sub(from, last)
    from = last + 1
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests":%d,"micros":%d,"p50":%.1f,"p99":%.1f,"p99_9":%.1f,"refused":%d,"errors":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.status, e.connect + e.read + e.write + e.timeout))
end
"""

NEEDED = {"wrk": "apt-get install wrk", "h2load": "apt-get install nghttp2-client", "cargo": "https://rustup.rs"}


def missing():
    """Generators that are not there, with the command that installs each."""
    return {name: how for name, how in NEEDED.items() if not shutil.which(name)}


def whole(seconds):
    """wrk and h2load take whole seconds."""
    return max(1, round(seconds))


def answered(what, one):
    """Good requests at a constant rate must be answered as such; what a busy machine left unanswered is said."""
    if one["other_status"]:
        raise process.Failed(f"{what}: {one['other_status']} good requests were refused")
    if one["unanswered"]:
        process.say(f"  {what}: {one['unanswered']} requests were still waiting when the run was over; they count with the time "
                    "until then")


class Clients:
    """The generators on their core."""

    def __init__(self, folder, core_set, target):
        self.folder, self.core_set = folder, core_set
        self.script = worlds.write(folder, "requests.lua", WRK_SCRIPT)
        self.target = target
        # The last command of each generator, for the record.
        self.commands = {}
        self.pace_program = None

    def wrk(self, port, requests, seconds, tls=False, connections=CONNECTIONS):
        """As many requests as `connections` carry one after the other. Answers of 400 and above are `refused`."""
        address = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
        said = self._run(["wrk", "-t1", f"-c{connections}", f"-d{whole(seconds)}s", "--timeout", "10s", "-s", self.script, address,
                          "--", requests])
        found = json.loads(said.strip().splitlines()[-1])
        return self._figures(found, found["micros"] / 1e6)

    def _run(self, command):
        shown = [part if len(part) < 200 else part[:60] + "..." for part in command]
        self.commands[os.path.basename(command[0])] = [os.path.basename(command[0]), *shown[1:]]
        return process.run(command, self.core_set)

    @staticmethod
    def _figures(found, seconds):
        return {"requests": found["requests"], "rps": found["requests"] / seconds, "refused": found["refused"],
                "errors": found["errors"], **{name: found[name] for name in ("p50", "p99", "p99_9")}}

    def h2load(self, port, path, headers, seconds, tls=False, connections=8, streams=8):
        """As many requests as `connections` times `streams` carry."""
        log = os.path.join(self.folder, "h2load.tsv")
        if os.path.exists(log):
            os.remove(log)
        command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", f"--duration={whole(seconds)}", f"--log-file={log}"]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        # The name in the address is the host that is asked for; where it leads is given beside it.
        command += [f"--connect-to=127.0.0.1:{port}", f"{'https' if tls else 'http'}://{worlds.HOST}{path}"]
        said = self._run(command)
        done = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", said)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        took = re.search(r"finished in ([0-9.]+)(ms|s)", said)
        if not (done and codes and took):
            raise process.Failed(f"h2load said what nobody understands: {said[-600:]}")
        with open(log, encoding="ascii") as file:
            times = [float(line.split("\t")[2]) for line in file]
        seconds = float(took[1]) / (1000 if took[2] == "ms" else 1)
        found = {"requests": int(done[1]), "refused": int(codes[3]) + int(codes[4]), "errors": int(done[4])}
        found |= {name: stats.percentile(times, share) or 0 for name, share in (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999))}
        return self._figures(found, seconds)

    def build_pace(self):
        """Builds the generator of constant rates beside this file."""
        done = subprocess.run(["cargo", "build", "--release", "--locked", "--manifest-path", os.path.join(HERE, "pace", "Cargo.toml"),
                               "--target-dir", self.target], capture_output=True, text=True, check=False)
        if done.returncode:
            raise process.Failed(f"pace cannot be built: {done.stderr[-1500:]}")
        self.pace_program = os.path.join(self.target, "release", "pace")

    def pace_command(self, port, requests, rate, seconds, connections=CONNECTIONS, warm=1.0, status=200, window=100,
                     sources=0):
        """The command of `pace`, for those that run it beside something else."""
        if not self.pace_program:
            self.build_pace()
        return [self.pace_program, f"127.0.0.1:{port}", requests, "--rate", f"{rate:.0f}", "--connections", str(connections),
                "--seconds", f"{seconds:g}", "--warm", f"{warm:g}", "--status", str(status), "--window", str(window),
                "--sources", str(sources)]

    def pace(self, *arguments, **named):
        """Requests at a constant rate; times count from the moment a request was due."""
        return json.loads(self._run(self.pace_command(*arguments, **named)))

    def beside(self, command, yielding=False):
        """Starts a generator in the background. One that yields runs when nobody else on its cores wants to: what it sends
        then costs the server, and not those who measure the server."""
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=process.on(self.core_set, yielding))

    def versions(self):
        """What is used, for the record."""
        first = lambda command: next(iter((subprocess.run(command, capture_output=True, text=True, check=False).stdout or "").splitlines()), "")
        return {"wrk": first(["wrk", "-v"]).partition(" [")[0].removeprefix("wrk ").strip(),
                "h2load": first(["h2load", "--version"]).removeprefix("h2load ")}


def h2_headers(token):
    """The headers of the realistic request."""
    return {**worlds.BROWSER, "Authorization": f"Bearer {token}"}
