"""The keys of the tokens' issuers, the tokens themselves and the certificate of the listeners."""

import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import subprocess
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property

TENANT = "11111111-1111-4111-8111-111111111111"
ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
# A second issuer whose tokens are as short as RS256 allows, for the tiny requests.
SHORT_ISSUER = "https://s.example"
AUDIENCE = "api://app"
ROLE = "Access"
KEY_ID = "k1"


def encoded(data):
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def padded_digest(data, size):
    """The digest of `data` as RSASSA-PKCS1-v1_5 pads it to `size` bytes, as a number."""
    tail = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(data).digest()
    return int.from_bytes(b"\0\1" + b"\xff" * (size - len(tail) - 3) + b"\0" + tail, "big")


def _power():
    """`pow` of large numbers: OpenSSL's, ten times as fast as Python's own, where it can be loaded."""
    name = ctypes.util.find_library("crypto")
    try:
        library = ctypes.CDLL(name) if name else None
        make, power, read, write, free = (getattr(library, f"BN_{name}") for name in ("new", "mod_exp", "bin2bn", "bn2binpad", "free"))
        context = library.BN_CTX_new
    except (AttributeError, OSError):
        return pow
    for function in (make, read, context):
        function.restype = ctypes.c_void_p
    room = ctypes.c_void_p(context())

    def big(value):
        data = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return ctypes.c_void_p(read(data, len(data), None))

    def raise_to(base, exponent, modulus):
        numbers = [ctypes.c_void_p(make()), big(base), big(exponent), big(modulus)]
        power(*numbers, room)
        size = (modulus.bit_length() + 7) // 8
        out = ctypes.create_string_buffer(size)
        write(numbers[0], out, size)
        for number in numbers:
            free(number)
        return int.from_bytes(out.raw, "big")

    return raise_to


_POWER = _power()


@dataclass(frozen=True)
class Key:
    """A private RSA key."""

    n: int
    e: int
    d: int
    p: int
    q: int

    @property
    def size(self):
        return (self.n.bit_length() + 7) // 8

    @cached_property
    def coefficient(self):
        """What brings the halves of a power together again (RFC 8017, section 3.2)."""
        return pow(self.q, -1, self.p)

    def sign(self, data):
        """The RS256 signature."""
        digest = padded_digest(data, self.size)
        one, two = (_POWER(digest % prime, self.d % (prime - 1), prime) for prime in (self.p, self.q))
        whole = two + self.q * ((one - two) * self.coefficient % self.p)
        return whole.to_bytes(self.size, "big")

    def jwks(self):
        """The public half as a JWKS."""
        big = lambda number: encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": big(self.n), "e": big(self.e)}]}


def _integers(der):
    """All integers of a DER structure, those within nested sequences and octet strings too."""
    at = 0
    while at < len(der):
        kind, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        body, at = der[at : at + length], at + length
        if kind == 0x02:
            yield int.from_bytes(body, "big")
        elif kind in (0x30, 0x04):
            yield from _integers(body)


def make_key(folder, name):
    """A new key, in `NAME.key.pem`."""
    private = os.path.join(folder, f"{name}.key.pem")
    subprocess.run(["openssl", "genrsa", "-out", private, "2048"], check=True, capture_output=True)
    with open(private, encoding="ascii") as file:
        der = base64.b64decode("".join(line for line in file.read().splitlines() if not line.startswith("-")))
    n, e, d, p, q = [number for number in _integers(der) if number > 1][:5]
    return Key(n, e, d, p, q)


def make_keys(folder):
    """The issuers' key, whose public half stands in `token.pub.pem`, and one that nobody trusts. The second has the smaller
    modulus: each of its signatures is a number that the first can be asked about, so the verification runs to its end."""
    made = {name: make_key(folder, name) for name in ("one", "two")}
    trusted, other = sorted(made, key=lambda name: made[name].n, reverse=True)
    subprocess.run(["openssl", "rsa", "-in", os.path.join(folder, f"{trusted}.key.pem"), "-pubout",
                    "-out", os.path.join(folder, "token.pub.pem")], check=True, capture_output=True)
    return made[trusted], made[other]


def make_certificate(folder, host):
    """A certificate of P-256, whose handshakes cost little: `tls.crt`, `tls.key`, and both in `tls.pem`."""
    certificate, key = os.path.join(folder, "tls.crt"), os.path.join(folder, "tls.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7",
                    "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    with open(os.path.join(folder, "tls.pem"), "w", encoding="ascii") as both:
        for path in (certificate, key):
            with open(path, encoding="ascii") as file:
                both.write(file.read())


def object_id(number):
    """The object id of principal `number`."""
    return f"{number:08x}-0000-4000-8000-000000000000"


def token(key, number, *, role=ROLE, lifetime=36_000, short=False):
    """The access token of principal `number`: one of about 1.2 KB as Entra ID issues them, or a short one of the second
    issuer. A negative lifetime makes one that ended that long ago."""
    now = int(time.time())
    begin = now - 60 if lifetime > 0 else now + lifetime - 3600
    claims = {"aud": AUDIENCE, "iat": begin, "nbf": begin, "exp": now + lifetime, "roles": [role]}
    if short:
        claims |= {"iss": SHORT_ISSUER, "sub": f"s{number}", "scope": "a"}
    else:
        oid = object_id(number)
        claims |= {
            "iss": ISSUER, "tid": TENANT, "ver": "2.0", "oid": oid, "azp": "de7e1000-0000-4000-8000-000000000000", "azpacr": "0",
            "aio": encoded(hashlib.sha512(oid.encode()).digest()), "name": f"Person {number}",
            "preferred_username": f"p{number}@example.org", "rh": "0." + encoded(hashlib.sha256(b"rh" + oid.encode()).digest()),
            "scp": "access_as_user", "sub": encoded(hashlib.sha256(oid.encode()).digest()),
            "uti": encoded(uuid.uuid4().bytes),
        }
    head = {"alg": "RS256", "kid": KEY_ID} if short else {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
    text = ".".join(encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    return f"{text}.{encoded(key.sign(text.encode()))}"


def _tokens(work):
    key, numbers = work
    return [token(key, number) for number in numbers]


def tokens(key, numbers):
    """The tokens of many principals, made on all cores."""
    numbers = list(numbers)
    shares = [(key, numbers[at : at + 250]) for at in range(0, len(numbers), 250)]
    with ProcessPoolExecutor() as pool:
        return [one for share in pool.map(_tokens, shares) for one in share]
