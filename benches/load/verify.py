"""Before anything is measured: each proxy lets the good request through to the backend and refuses the others."""

import http.client
import socket
import ssl

import peers
import process
import world as worlds


class At(http.client.HTTPSConnection):
    """A connection to this machine that asks for the host by name (SNI)."""

    def connect(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        self.sock = context.wrap_socket(plain, server_hostname=worlds.HOST)


def get(port, target, token=None, tls=False, browser=True):
    """Status, body and, with TLS, version and cipher of one request."""
    connection = At("127.0.0.1", port) if tls else http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Host": worlds.HOST, **(worlds.BROWSER if browser else {})}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        with_tls = [connection.sock.version(), connection.sock.cipher()[0]] if tls else None
        return answer.status, answer.read().decode("utf-8", "replace"), with_tls
    finally:
        connection.close()


def checked(server, world):
    """The answers of one server, by what was asked. Raises `Failed` where one is not what it must be."""
    found, faults = {}, []
    port = server.ports[peers.PLAIN]

    def ask(name, target, token, wanted, text=None, tls=False, browser=True):
        status, body, with_tls = get(server.ports[peers.TLS] if tls else port, target, token, tls, browser)
        found[name] = [status, *with_tls] if with_tls else status
        right = status in wanted and (text is None or text in body)
        if status >= 400 and ('"from":"backend"' in body or "authorization=" in body):
            right = False
        if not right:
            faults.append(f"{name}: {status} {body[:120]!r} where {wanted} was to come")

    one, yes, no, may_not = world.tokens, {200}, {401, 403}, {403}
    ask("good token", world.path, one["good"], yes, peers.ANSWER)
    ask("good token, TLS", world.path, one["good"], yes, peers.ANSWER, tls=True)
    ask("good token, 10 KiB", world.big, one["good"], yes, '"from":"backend"')
    ask("short token", world.path, one["short"], yes, peers.ANSWER, browser=False)
    if server.checks:
        ask("no token", world.path, None, no)
        ask("wrong signature", world.path, one["forged"], no)
        ask("expired", world.path, one["expired"], no)
        ask("no role", world.path, one["no role"], may_not)
        # Again, now that a good token may be remembered.
        ask("wrong signature, TLS", world.path, one["forged"], no, tls=True)
        ask("what the backend gets", world.echo, one["good"], yes, "authorization=\n")
    else:
        for name in ("forged", "expired", "no role"):
            ask(f"{name}, forwarded unchecked", world.path, one[name], yes, peers.ANSWER)
    if server.decides:
        ask("no right there", world.elsewhere, one["good"], may_not, "right_missing")
        ask("no such route", "/nothing", one["good"], {404})
        ask("the backend learns the name", world.echo, one["good"], yes, f"user=p{worlds.ONE} ")
    if faults:
        raise process.Failed(f"{server.name} does not do what is compared:\n  " + "\n  ".join(faults))
    return found
