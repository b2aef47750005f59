//! The keys that issuers sign with: one JWKS document (RFC 7517), and the keys of all issuers at one moment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::jose::Algorithm;
use super::jwk::{Key, Material};
use super::mint::DEVELOPMENT_KID_PREFIX;
use super::strict::{Flaw, Json, Object};

/// Largest JWKS document that is read, in bytes.
pub const DOCUMENT_BYTES: usize = 1024 * 1024;
/// Most entries that one document may have. Entra publishes about ten.
const ENTRIES: usize = 1000;
/// Most refused entries that are remembered and named.
const REFUSALS: usize = 8;

/// Index of a set of keys in a [`KeyRing`]: one for each document that keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeySourceId(pub u16);

/// The usable keys of one JWKS document. Two are equal if they verify the same tokens.
pub struct KeySet {
    /// Sorted by `kid`, each there once.
    keys: Vec<Key>,
    refused: Vec<String>,
}

/// Why a JWKS document was not taken; a clause for an operator that names keys by `kid` only.
#[derive(Debug, PartialEq, Eq)]
pub struct KeySetFault(pub String);

impl fmt::Display for KeySetFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for KeySetFault {}

impl KeySet {
    /// Reads a JWKS document. Entries that are not usable (other types, other uses, too short, secret, without `kid`)
    /// are left out; two different keys under one `kid` are both left out, because nobody could say which is meant.
    ///
    /// # Errors
    /// The document is larger than 1 MiB, not a JSON object with a list `keys`, or has no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetFault> {
        if json.len() > DOCUMENT_BYTES {
            return Err(KeySetFault("the key document is larger than 1 MiB".into()));
        }
        let document = Object::read(json).map_err(|flaw| match flaw {
            Flaw::Syntax => KeySetFault("the key document is not a JSON object".into()),
            Flaw::Duplicate => KeySetFault("the key document has the same name twice in one object".into()),
        })?;
        let Some(Json::List(entries)) = document.get("keys") else {
            return Err(KeySetFault("the key document has no list `keys`".into()));
        };
        if entries.len() > ENTRIES {
            return Err(KeySetFault(format!("the key document has more than {ENTRIES} keys")));
        }
        let mut set = Self { keys: Vec::new(), refused: Vec::new() };
        for entry in entries {
            match Key::read(entry) {
                Ok(key) => set.keys.push(key),
                Err(why) => set.refuse(why),
            }
        }
        set.drop_ambiguous();
        if set.is_empty() {
            let why = if set.refused.is_empty() { "it is empty".into() } else { set.refused.join("; ") };
            return Err(KeySetFault(format!("the key document has no usable key: {why}")));
        }
        Ok(set)
    }

    fn drop_ambiguous(&mut self) {
        self.keys.sort_by(|one, other| one.kid.cmp(&other.kid));
        let mut kept: Vec<Key> = Vec::with_capacity(self.keys.len());
        let mut ambiguous: Vec<Box<str>> = Vec::new();
        for key in std::mem::take(&mut self.keys) {
            match kept.last() {
                Some(last) if last.kid == key.kid => {
                    if *last != key && ambiguous.last() != Some(&key.kid) {
                        ambiguous.push(key.kid);
                    }
                }
                _ => kept.push(key),
            }
        }
        kept.retain(|key| !ambiguous.contains(&key.kid));
        self.keys = kept;
        for kid in ambiguous {
            self.refuse(format!(
                "key `{}` is refused: the document has two different keys of this name",
                kid.escape_debug()
            ));
        }
    }

    fn refuse(&mut self, why: String) {
        if self.refused.len() < REFUSALS {
            self.refused.push(why);
        }
    }

    /// Number of usable keys; never 0 in a set that was parsed.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any key is a development key, which the product refuses on a listener beyond loopback.
    pub fn has_development_key(&self) -> bool {
        self.kids().any(|kid| kid.starts_with(DEVELOPMENT_KID_PREFIX))
    }

    /// The names of the usable keys, sorted.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| &*key.kid)
    }

    /// Why entries of the document were left out, the first few: clauses for the log.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Whether the key `kid` made this signature (base64url) over `signed` with the algorithm `alg` (RFC 7518 section
    /// 3.1). Asks nothing else, unlike a [`Verifier`](super::Verifier).
    pub fn verifies(&self, kid: &str, alg: &str, signed: &[u8], signature: &str) -> bool {
        let algorithm = Algorithm::parse(alg);
        self.find(kid).zip(algorithm).is_some_and(|(key, algorithm)| key.verifies(algorithm, signed, signature))
    }

    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        let position = self.keys.binary_search_by(|key| (*key.kid).cmp(kid)).ok()?;
        self.keys.get(position)
    }

    /// The names under which these numbers are published.
    pub(super) fn kids_of(&self, material: &Material) -> impl Iterator<Item = &str> {
        self.keys.iter().filter(move |key| key.material == *material).map(|key| &*key.kid)
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.kids()).finish()
    }
}

/// The keys of all sources at one moment. Immutable: a change makes a new ring.
#[derive(Clone, Debug)]
pub struct KeyRing {
    generation: u64,
    sources: Vec<Option<Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched_at: u64,
}

impl KeyRing {
    /// No keys yet from so many sources.
    pub fn empty(sources: usize) -> Self {
        Self { generation: new_generation(), sources: vec![None; sources] }
    }

    /// The keys of a source, if there are any.
    pub fn get(&self, source: KeySourceId) -> Option<&KeySet> {
        self.held(source).map(|held| &*held.keys)
    }

    /// The same with the keys of a source replaced, fetched at `fetched_at` (Unix seconds). Keys that verify the same
    /// tokens as before keep the generation.
    #[must_use]
    pub fn with(&self, source: KeySourceId, keys: Arc<KeySet>, fetched_at: u64) -> Self {
        let unchanged = self.get(source).is_some_and(|old| *old == *keys);
        self.replaced(source, Some(Held { keys, fetched_at }), unchanged)
    }

    /// The same without the keys of a source: they are too old to be believed.
    #[must_use]
    pub fn without(&self, source: KeySourceId) -> Self {
        self.replaced(source, None, self.get(source).is_none())
    }

    /// When the keys of a source were last fetched, in Unix seconds.
    pub fn fetched_at(&self, source: KeySourceId) -> Option<u64> {
        self.held(source).map(|held| held.fetched_at)
    }

    /// A number that no ring with other keys has or had in this process.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every source has keys.
    pub fn complete(&self) -> bool {
        self.sources.iter().all(Option::is_some)
    }

    fn held(&self, source: KeySourceId) -> Option<&Held> {
        self.sources.get(usize::from(source.0))?.as_ref()
    }

    fn replaced(&self, source: KeySourceId, held: Option<Held>, unchanged: bool) -> Self {
        let mut ring = self.clone();
        if let Some(slot) = ring.sources.get_mut(usize::from(source.0)) {
            *slot = held;
            if !unchanged {
                ring.generation = new_generation();
            }
        }
        ring
    }
}

/// Numbers are given out process-wide, not counted from ring to ring: two rings that grew from one must not meet in a
/// number, or a token verified with the keys of the one would be believed under the other.
fn new_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;
    use crate::token::mint::DevelopmentKey;

    /// A public key of P-256: the generator of the curve (FIPS 186-4 D.1.2.3).
    fn ec() -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "kid": "ec",
            "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
        })
    }

    fn rsa() -> Value {
        let key = DevelopmentKey::generate().unwrap();
        let document: Value = serde_json::from_str(&key.jwks()).unwrap();
        let mut entry = document["keys"][0].clone();
        entry["kid"] = "rsa".into();
        entry
    }

    fn with(mut entry: Value, name: &str, value: Value) -> Value {
        entry[name] = value;
        entry
    }

    fn without(mut entry: Value, name: &str) -> Value {
        entry.as_object_mut().unwrap().remove(name);
        entry
    }

    fn parse(entries: &[Value]) -> Result<KeySet, KeySetFault> {
        KeySet::parse(json!({ "keys": entries }).to_string().as_bytes())
    }

    fn padded(length: usize, last: u8) -> Value {
        let mut bytes = vec![0xff; length];
        bytes[length - 1] = last;
        URL_SAFE_NO_PAD.encode(bytes).into()
    }

    #[test]
    fn usable_keys_are_taken_as_entra_writes_them() {
        let (ec, rsa) = (ec(), rsa());
        for entry in [
            ec.clone(),
            rsa.clone(),
            without(rsa.clone(), "alg"),
            without(rsa.clone(), "use"),
            with(rsa.clone(), "key_ops", json!(["verify"])),
            with(rsa.clone(), "x5c", json!(["MIIC"])),
            with(rsa.clone(), "issuer", json!("https://login.microsoftonline.com/{tenantid}/v2.0")),
            with(ec.clone(), "alg", json!("ES256")),
            with(rsa.clone(), "n", {
                let mut n = vec![0];
                n.extend(URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap());
                URL_SAFE_NO_PAD.encode(n).into()
            }),
        ] {
            let set = parse(std::slice::from_ref(&entry)).unwrap();
            assert_eq!(set.len(), 1, "{entry}");
            assert!(set.refused().is_empty());
        }
    }

    #[test]
    fn unusable_keys_are_left_out_and_named() {
        let (good, ec, rsa) = (with(rsa(), "kid", json!("good")), ec(), rsa());
        for (entry, why) in [
            (json!(1), "not an object"),
            (without(rsa.clone(), "kid"), "no `kid`"),
            (with(rsa.clone(), "kid", json!("")), "empty or longer"),
            (with(rsa.clone(), "kid", json!("k".repeat(129))), "empty or longer"),
            (with(rsa.clone(), "d", json!("AQAB")), "key `rsa` is refused: `d`"),
            (with(ec.clone(), "d", json!(null)), "key `ec` is refused: `d`"),
            (json!({"kty": "oct", "kid": "o", "k": "c2VjcmV0"}), "key `o` is refused: `k`"),
            (json!({"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": "AA"}), "`kty`"),
            (without(rsa.clone(), "kty"), "`kty`"),
            (with(rsa.clone(), "use", json!("enc")), "`use`"),
            (with(rsa.clone(), "use", json!(null)), "`use`"),
            (with(rsa.clone(), "key_ops", json!(["sign"])), "`key_ops`"),
            (with(rsa.clone(), "key_ops", json!("verify")), "`key_ops`"),
            (with(rsa.clone(), "alg", json!("RS384")), "`alg`"),
            (with(rsa.clone(), "alg", json!("ES256")), "`alg`"),
            (with(rsa.clone(), "alg", json!("HS256")), "`alg`"),
            (with(rsa.clone(), "alg", json!(1)), "`alg`"),
            (with(rsa.clone(), "issuer", json!(1)), "`issuer`"),
            (with(rsa.clone(), "n", json!("AQ==")), "`n`"),
            (without(rsa.clone(), "e"), "no `e`"),
            (with(rsa.clone(), "n", padded(128, 1)), "has 1024 bits"),
            (with(rsa.clone(), "n", json!("")), "has 0 bits"),
            (with(rsa.clone(), "n", padded(1025, 1)), "has 8200 bits"),
            (with(rsa.clone(), "n", padded(256, 2)), "even modulus"),
            (with(rsa.clone(), "e", json!("AQ")), "exponent"),
            (with(rsa.clone(), "e", json!("Ag")), "exponent"),
            (with(rsa.clone(), "e", json!("AgAAAAE")), "exponent"),
            (with(rsa.clone(), "e", json!("AQAAAAAAAAAB")), "exponent"),
            (with(ec.clone(), "crv", json!("P-384")), "`crv`"),
            (with(ec.clone(), "x", padded(31, 1)), "`x` that is not 32"),
            (with(ec.clone(), "y", padded(33, 1)), "`y` that is not 32"),
            (with(ec.clone(), "y", padded(32, 1)), "not a possible"),
            (with(with(rsa.clone(), "kid", json!("a\nb")), "use", json!("enc")), "key `a\\nb`"),
        ] {
            let set = parse(&[entry.clone(), good.clone()]).unwrap();
            assert_eq!(set.kids().collect::<Vec<_>>(), ["good"], "{entry}");
            assert!(set.refused()[0].contains(why), "{entry}: {:?}", set.refused());
            assert!(parse(&[entry]).unwrap_err().0.contains(why));
        }
    }

    #[test]
    fn a_name_with_two_different_keys_is_refused() {
        let (one, other) = (rsa(), rsa());
        assert_eq!(parse(&[one.clone(), one.clone()]).unwrap().len(), 1, "the same key twice is one key");
        for entries in [
            vec![one.clone(), other.clone(), ec()],
            vec![one.clone(), other, one.clone(), ec()],
            vec![one.clone(), with(one, "issuer", json!("https://elsewhere")), ec()],
        ] {
            let set = parse(&entries).unwrap();
            assert_eq!(set.kids().collect::<Vec<_>>(), ["ec"]);
            assert!(set.refused()[0].contains("two different keys"));
            assert!(set.find("rsa").is_none());
        }
    }

    #[test]
    fn documents_that_are_not_key_sets_are_refused_whole() {
        let many = json!({ "keys": vec![json!({}); ENTRIES + 1] }).to_string();
        let twice = format!(r#"{{"keys":[],"keys":[{}]}}"#, ec());
        for (document, why) in [
            ("", "not a JSON object"),
            ("<html></html>", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{}", "no list `keys`"),
            (r#"{"keys":{}}"#, "no list `keys`"),
            (r#"{"keys":[]}"#, "no usable key: it is empty"),
            (&twice, "same name twice"),
            (&many, "more than 1000"),
            (&" ".repeat(DOCUMENT_BYTES + 1), "larger than 1 MiB"),
        ] {
            let fault = KeySet::parse(document.as_bytes()).unwrap_err();
            assert!(fault.0.contains(why), "{fault}");
        }
    }

    #[test]
    fn the_generation_changes_with_the_content_and_only_then() {
        let (one, other) = (Arc::new(parse(&[rsa()]).unwrap()), Arc::new(parse(&[ec()]).unwrap()));
        let id = KeySourceId(1);
        let empty = KeyRing::empty(2);
        let first = empty.with(id, Arc::clone(&one), 10);
        assert_ne!(first.generation(), empty.generation());
        assert_eq!((first.fetched_at(id), first.complete()), (Some(10), false));

        let refreshed = first.with(id, Arc::clone(&one), 20);
        assert_eq!(refreshed.generation(), first.generation());
        assert_eq!(refreshed.fetched_at(id), Some(20));

        let (here, there) = (first.with(id, Arc::clone(&other), 30), first.with(id, other, 30));
        assert_ne!(here.generation(), first.generation());
        assert_ne!(here.generation(), there.generation(), "rings that grew apart never meet in a number");
        assert_ne!(here.without(id).generation(), here.generation());
        assert!(here.without(id).get(id).is_none());
        assert_eq!(empty.without(id).generation(), empty.generation());
        assert_eq!(empty.with(KeySourceId(2), one, 1).generation(), empty.generation(), "there is no such issuer");
    }

    #[test]
    fn debug_output_names_keys_and_shows_no_more() {
        let set = parse(&[ec()]).unwrap();
        assert_eq!(format!("{set:?}"), "[\"ec\"]");
    }
}
