"""What everything is measured with: configuration, keys, tokens and requests."""

import json
import os

import keys

HOST = "app.example.org"
PLACES = 100
# Principals of one file, at some 140 bytes each.
EACH_FILE = 5_000_000
# Different forged tokens of a flood. No proxy remembers one that it refused, so more would cost the same.
FORGED = 4000
# The request of the cases with one token: principal 7, its route, its territory.
ONE = 7

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "application/json",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Referer": f"https://{HOST}/start",
    "Cookie": "theme=dark; session=0123456789abcdef0123456789abcdef",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
}


def path(number, routes, item="42"):
    """The path that principal `number` may ask for."""
    return f"/module{number % routes}/territories/T{number % PLACES}/items/{item}"


def request(target, token=None, browser=True):
    """A request as it goes over the wire; with `browser` it has ten headers, else `Host` and the token alone."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {HOST}"]
    if browser:
        lines += [f"{name}: {value}" for name, value in BROWSER.items()]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines) + "\r\n\r\n"


def write(folder, name, text):
    """Writes a file beside its place and moves it there whole."""
    full = os.path.join(folder, name)
    with open(full + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(full + ".new", full)
    return full


def gateway(listeners, admin, log=True):
    """gateway.yaml."""
    return "\n".join([
        "version: 1",
        "listeners:",
        *[f"  - {listener}" for listener in listeners],
        f"admin: {{address: 127.0.0.1:{admin}}}",
        "routes: [routes.yaml]",
        "grants: [grants.yaml]",
        f"tenants: [{{name: t, id: {keys.TENANT}, keys: jwks.json}}]",
        f"issuers: [{{name: s, issuer: \"{keys.SHORT_ISSUER}\", jwks: jwks.json, audiences: [\"{keys.AUDIENCE}\"]}}]",
        # All clients are at one address here.
        "limits: {connections: 30000, connections_per_client: 30000}",
        "timeouts: {client_idle: 1h}",
        # Versions of the policy differ by more than a gate lets through unasked.
        "reload: {gate: off}",
        f"log: {{decisions: {'true' if log else 'false'}}}",
        "",
    ])


def routes(count, backend, mark=0):
    """routes.yaml with `count` routes: each asks for a flag and two rights at the scope that the path names."""
    text = [
        f"version: 1\nsettings: {{mark: {mark}}}\nupstreams: {{app: {{servers: [\"http://127.0.0.1:{backend}\"]}}}}\n"
        f"applications:\n  - name: app\n    hosts: [{HOST}]\n    domain: d\n    upstream: app\n"
        f"    gate: {{tenants: [t, s], audiences: [\"{keys.AUDIENCE}\"], app_roles: [{keys.ROLE}]}}\n    routes:\n"
    ]
    text += [
        f"      - {{id: r{n}, match: {{methods: [GET], path: \"/module{n}/territories/{{territory}}/items/{{item}}\"}}, "
        f"scopes: {{main: {{from: path.territory, kind: territory}}}}, "
        f"require: [{{flag: app.user}}, app.territory, \"app.module{n}:read\"]}}\n"
        for n in range(count)
    ]
    return "".join(text)


def rights(number):
    """The three grants of a principal: what its route asks for, and one that plays no part."""
    place = number % PLACES
    return [f"app.territory @territory:T{place}", f"app:read @territory:T{place}", f"other:write @territory:T{(number + 7) % PLACES}"]


def grants(principals, people=None, mark=0):
    """grants.yaml: a forest of territories, a group that denies, and the principals, here or in a file of their own. `mark`
    makes versions that differ."""
    text = ["version: 1\ndomain: d\nscopes:\n  forest:\n"]
    text += [f"    \"territory:T{place}\": root\n" for place in range(PLACES)]
    text.append(f"groups: {{NoAdmin: {{grants: [\"admin:deny\"], flags: [mark{mark}]}}}}\n")
    if people:
        text.append(f"principals_from: [{', '.join(people)}]\n")
    text.append("principals:\n")
    short = ", ".join(json.dumps(grant) for grant in rights(ONE))
    text.append(f"  - {{id: short, tenant: s, subject: s{ONE}, flags: [app.user], grants: [{short}]}}\n")
    for n in range(0 if people else principals):
        groups = "[NoAdmin]" if n % 10 == 0 else "[]"
        listed = ", ".join(json.dumps(grant) for grant in rights(n))
        text.append(f"  - {{id: p{n}, tenant: t, oid: {keys.object_id(n)}, flags: [app.user], groups: {groups}, grants: [{listed}]}}\n")
    return "".join(text)


def people_files(principals):
    """The names of the files of so many principals, and whom each holds: one has at most 1 GiB."""
    parts = [range(first, min(first + EACH_FILE, principals)) for first in range(0, principals, EACH_FILE)]
    return {f"people{number or ''}.tsv": numbers for number, numbers in enumerate(parts)}


def write_people(folder, name, numbers, principals, mark=0):
    """The principals of these numbers as tab-separated lines, streamed. The last of all holds another right in each version."""
    with open(os.path.join(folder, name + ".new"), "w", encoding="utf-8") as file:
        file.write("id\ttenant\toid\tflags\tgroups\tgrants\n")
        for n in numbers:
            listed = ",".join(grant.replace(" @", "@") for grant in rights(n))
            if n == principals - 1:
                listed += f",mark{mark}:read"
            file.write(f"p{n}\tt\t{keys.object_id(n)}\tapp.user\t{'NoAdmin' if n % 10 == 0 else ''}\t{listed}\n")
    os.replace(os.path.join(folder, name + ".new"), os.path.join(folder, name))


def install(folder, prepared, name):
    """Renames another name of a prepared file over the live one: nothing is copied, however large it is."""
    spare = os.path.join(folder, name + ".next")
    os.link(os.path.join(folder, prepared), spare)
    os.replace(spare, os.path.join(folder, name))


class World:
    """A folder with the keys, the tokens and the files of requests that all cases share."""

    def __init__(self, folder, scale):
        self.folder, self.scale = folder, scale
        # Whoever forges tokens names the key that is trusted and signs with another: only the signature gives it away.
        self.key, self.other_key = keys.make_keys(folder)
        keys.make_certificate(folder, HOST)
        write(folder, "jwks.json", json.dumps(self.key.jwks()))
        good = keys.token(self.key, ONE)
        self.tokens = {
            "good": good,
            "short": keys.token(self.key, ONE, short=True),
            "expired": keys.token(self.key, ONE, lifetime=-7200),
            "no role": keys.token(self.key, ONE, role="Other"),
            "forged": keys.token(self.other_key, ONE),
        }
        self.path = path(ONE, scale.routes)
        self.elsewhere = f"/module{ONE}/territories/T{ONE + 1}/items/42"
        self.big = path(ONE, scale.routes, "big")
        self.echo = path(ONE, scale.routes, "echo")

    def requests(self, name):
        """The file of requests of this name, made when it is first asked for."""
        full = os.path.join(self.folder, name.replace(" ", "-") + ".requests")
        if os.path.exists(full):
            return full
        one = self.tokens
        if name == "many":
            numbers = range(self.scale.tokens)
            texts = (request(path(n, self.scale.routes), text) for n, text in zip(numbers, keys.tokens(self.key, numbers)))
        elif name == "flood":
            numbers = range(min(self.scale.principals, FORGED))
            texts = (request(path(n, self.scale.routes), text) for n, text in zip(numbers, keys.tokens(self.other_key, numbers)))
        else:
            texts = [{
                "tiny": lambda: request(self.path, one["short"], browser=False),
                "realistic": lambda: request(self.path, one["good"]),
                "big": lambda: request(self.big, one["good"]),
                "no token": lambda: request(self.path),
                "expired": lambda: request(self.path, one["expired"]),
                "no role": lambda: request(self.path, one["no role"]),
                "no right": lambda: request(self.elsewhere, one["good"]),
            }[name]()]
        with open(full, "w", encoding="ascii", newline="") as file:
            file.writelines(texts)
        return full
