//! The keys that issuers sign with: one JWKS document (RFC 7517), and the keys of all issuers at one moment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::jose::Algorithm;
use super::jwk::{self, Key, Material};
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
    refused: Vec<Refused>,
}

/// Why an entry of a JWKS document is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// A clause for an operator that names the key by its `kid` only.
    pub why: String,
    /// Whether the document shows a secret key: its issuer must be told, for others can sign with it now.
    pub exposed: bool,
}

/// Why a JWKS document was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetFault {
    /// A clause for an operator that names keys by `kid` only.
    pub why: String,
    /// Whether the document shows a secret key.
    pub exposed: bool,
    /// The names of the secret keys that it shows.
    pub shown: Vec<Box<str>>,
}

impl KeySetFault {
    fn of(why: impl Into<String>) -> Self {
        Self { why: why.into(), exposed: false, shown: Vec::new() }
    }
}

impl fmt::Display for KeySetFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.why)
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
            return Err(KeySetFault::of("the key document is larger than 1 MiB"));
        }
        let document = Object::read(json).map_err(|flaw| match flaw {
            Flaw::Syntax => KeySetFault::of("the key document is not a JSON object"),
            Flaw::Duplicate => KeySetFault::of("the key document has the same name twice in one object"),
        })?;
        let Some(Json::List(entries)) = document.get("keys") else {
            return Err(KeySetFault::of("the key document has no list `keys`"));
        };
        if entries.len() > ENTRIES {
            return Err(KeySetFault::of(format!("the key document has more than {ENTRIES} keys")));
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
            let causes: Vec<&str> = set.refused.iter().map(|refused| refused.why.as_str()).collect();
            let why = if causes.is_empty() { "it is empty".into() } else { causes.join("; ") };
            return Err(KeySetFault {
                why: format!("the key document has no usable key: {why}"),
                exposed: set.refused.iter().any(|refused| refused.exposed),
                shown: entries.iter().filter_map(jwk::shown).map(Box::from).collect(),
            });
        }
        Ok(set)
    }

    /// The same without the keys of these names; `None` if that leaves none.
    pub fn without(&self, kids: &[Box<str>]) -> Option<Self> {
        let keys: Vec<Key> = self.keys.iter().filter(|key| !kids.contains(&key.kid)).cloned().collect();
        (!keys.is_empty()).then(|| Self { keys, refused: self.refused.clone() })
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
            let kid = kid.escape_debug();
            let why = format!("key `{kid}` is refused: the document has two different keys of this name");
            self.refuse(Refused { why, exposed: false });
        }
    }

    /// Takes note of a refused entry. A secret key that is shown is noted even where there are many others.
    fn refuse(&mut self, refused: Refused) {
        if self.refused.len() < REFUSALS {
            self.refused.push(refused);
        } else if refused.exposed
            && let Some(other) = self.refused.iter_mut().find(|known| !known.exposed)
        {
            *other = refused;
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

    /// Whether there is a usable key of this name.
    pub fn has(&self, kid: &str) -> bool {
        self.find(kid).is_some()
    }

    /// Why entries of the document were left out, the first few, for the log.
    pub fn refused(&self) -> &[Refused] {
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

/// What logs and metrics call a source of keys: the issuer's URL, and for the keys of a single application its client id
/// as the discovery document is asked with it.
pub fn label(issuer: &str, application: Option<&str>) -> String {
    match application {
        None => issuer.to_owned(),
        Some(application) => format!("{issuer}?appid={application}"),
    }
}

/// The keys of all sources at one moment. Immutable: a change makes a new ring.
#[derive(Clone, Debug)]
pub struct KeyRing {
    generation: u64,
    sources: Vec<Slot>,
}

/// The place of one source.
#[derive(Clone, Debug)]
struct Slot {
    generation: u64,
    held: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched_at: u64,
}

impl KeyRing {
    /// No keys yet from so many sources.
    pub fn empty(sources: usize) -> Self {
        let generation = new_generation();
        Self { generation, sources: vec![Slot { generation, held: None }; sources] }
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

    /// The same for the keys of one source: a token verified with it is as good as before while this stays. 0 for a
    /// source that there is not.
    pub fn generation_of(&self, source: KeySourceId) -> u64 {
        self.sources.get(usize::from(source.0)).map_or(0, |slot| slot.generation)
    }

    /// Whether every source has keys.
    pub fn complete(&self) -> bool {
        self.sources.iter().all(|slot| slot.held.is_some())
    }

    fn held(&self, source: KeySourceId) -> Option<&Held> {
        self.sources.get(usize::from(source.0))?.held.as_ref()
    }

    fn replaced(&self, source: KeySourceId, held: Option<Held>, unchanged: bool) -> Self {
        let mut ring = self.clone();
        if let Some(slot) = ring.sources.get_mut(usize::from(source.0)) {
            slot.held = held;
            if !unchanged {
                ring.generation = new_generation();
                slot.generation = ring.generation;
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
            let refused = &set.refused()[0];
            assert!(refused.why.contains(why), "{entry}: {refused:?}");
            let secret = why.contains("`d`") || why.contains("`k`");
            let fault = parse(&[entry]).unwrap_err();
            assert!(fault.why.contains(why) && fault.exposed == secret && refused.exposed == secret, "{fault:?}");
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
            assert!(set.refused()[0].why.contains("two different keys"));
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
            assert!(fault.why.contains(why), "{fault}");
        }
    }

    #[test]
    fn a_secret_key_among_many_unusable_ones_is_not_overlooked() {
        let useless = || without(rsa(), "kid");
        let mut entries = vec![ec()];
        entries.extend((0..20).map(|_| json!({"kid": "x", "kty": "OKP"})));
        entries.push(with(useless(), "kid", json!("leaked")));
        entries.last_mut().unwrap()["d"] = json!("AQAB");
        let set = parse(&entries).unwrap();
        assert_eq!(set.refused().len(), REFUSALS);
        let exposed: Vec<_> = set.refused().iter().filter(|refused| refused.exposed).collect();
        assert!(exposed.len() == 1 && exposed[0].why.contains("`leaked`"), "{exposed:?}");
    }

    #[test]
    fn a_change_of_one_source_is_none_of_the_others() {
        let (one, other) = (KeySourceId(0), KeySourceId(1));
        let keys = Arc::new(parse(&[ec()]).unwrap());
        let ring = KeyRing::empty(2).with(one, Arc::clone(&keys), 1).with(other, keys, 1);
        let changed = ring.with(one, Arc::new(parse(&[rsa()]).unwrap()), 2);
        assert_ne!(changed.generation_of(one), ring.generation_of(one));
        assert_eq!(changed.generation_of(other), ring.generation_of(other));
        let gone = changed.without(one);
        assert_ne!(gone.generation_of(one), changed.generation_of(one));
        assert_eq!(gone.generation_of(other), ring.generation_of(other));
        assert_eq!(ring.generation_of(KeySourceId(2)), 0);
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
