//! What holds of every token: a changed one is not believed, whatever is changed; no input makes the verifier panic; and
//! what was verified before never changes a verdict.
//!
//! `PORTCULLIS_TOKEN_MUTATIONS=SECONDS cargo test --test token_properties -- --nocapture random` runs the
//! random mutations for longer than usual, from another seed each time.

#[path = "support/identity_provider.rs"]
mod identity_provider;
#[path = "support/token_world.rs"]
mod token_world;

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use portcullis::token::{Fault, KeyRing, LocalVerifier, TokenFault, Verified, Verifier, Verify};
use proptest::prelude::*;
use serde_json::{Value, json};

use identity_provider::Signer;
use token_world::{
    HEADER, NOW, OF_V1, OF_V2, RULES, World, app, app_v1, assembled, fault_of, issuers, okta, user, user_v1, with,
};

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// A small token of each kind of key.
fn tokens(world: &World) -> [String; 2] {
    let payload = user().to_string();
    [world.rsa.sign(HEADER, &payload), world.p256.sign(r#"{"alg":"ES256","kid":"p256"}"#, &payload)]
}

/// Whether bytes are believed; what is no text cannot even come in.
fn is_believed(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|token| WORLD.verify(token).is_ok())
}

#[test]
fn every_other_letter_in_every_place_makes_a_token_invalid() {
    for token in tokens(&WORLD) {
        assert!(is_believed(token.as_bytes()));
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            // All of ASCII, so all flips of one bit and of several are among them.
            for byte in (0..128).filter(|byte| *byte != token.as_bytes()[place]) {
                bytes[place] = byte;
                assert!(!is_believed(&bytes), "{byte:#04x} in place {place} of {token}");
            }
        }
        assert!(is_believed(token.as_bytes()), "and the token itself is as good as before");
    }
}

#[test]
fn every_flipped_bit_of_the_decoded_parts_makes_a_token_invalid() {
    for token in tokens(&WORLD) {
        let parts: Vec<Vec<u8>> = token.split('.').map(decoded).collect();
        for (number, part) in parts.iter().enumerate() {
            for bit in 0..part.len() * 8 {
                let mut changed = parts.clone();
                changed[number][bit / 8] ^= 1 << (bit % 8);
                let changed: Vec<String> = changed.iter().map(token_world::base64).collect();
                assert!(!is_believed(changed.join(".").as_bytes()), "bit {bit} of part {number} of {token}");
            }
        }
    }
}

fn decoded(part: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()
}

#[test]
fn every_truncation_insertion_deletion_and_exchange_makes_a_token_invalid() {
    for token in tokens(&WORLD) {
        for place in 0..token.len() {
            assert!(!is_believed(&token.as_bytes()[..place]), "cut at {place}");
            assert!(place == 0 || !is_believed(&token.as_bytes()[place..]), "begun at {place}");
            let mut without = token.clone();
            without.remove(place);
            assert!(!is_believed(without.as_bytes()), "without {place}");
            for letter in ['A', '.', '=', '_', ' ', '\n', '\u{0}', '\u{e9}'] {
                let mut inserted = token.clone();
                inserted.insert(place, letter);
                assert!(!is_believed(inserted.as_bytes()), "{letter:?} at {place}");
            }
            let mut exchanged = token.clone().into_bytes();
            if place > 0 && exchanged[place] != exchanged[place - 1] {
                exchanged.swap(place, place - 1);
                assert!(!is_believed(&exchanged), "exchanged at {place}");
            }
        }
        for behind in ["A", ".", "=", "==", " ", "\n", "\u{0}", ".AAAA"] {
            assert!(!is_believed(format!("{token}{behind}").as_bytes()), "{behind:?} behind");
        }
        let parts: Vec<&str> = token.split('.').collect();
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 0, 2], [1, 1, 2], [0, 1, 1], [0, 1, 0]]
        {
            assert!(!is_believed(order.map(|number| parts[number]).join(".").as_bytes()), "{order:?}");
        }
    }
}

#[test]
fn parts_of_different_good_tokens_make_no_third_one() {
    let all: Vec<String> = [user(), user_v1(), app(), app_v1(), okta(), with(user(), "roles", json!(["Admin"]))]
        .iter()
        .flat_map(|claims| {
            let text = claims.to_string();
            [WORLD.rsa.sign(HEADER, &text), WORLD.p256.sign(r#"{"alg":"ES256","kid":"p256"}"#, &text)]
        })
        .collect();
    let parts: Vec<Vec<&str>> = all.iter().map(|token| token.split('.').collect()).collect();
    for (one, header) in parts.iter().enumerate() {
        for (two, payload) in parts.iter().enumerate() {
            for (three, signature) in parts.iter().enumerate() {
                let mixed = [header[0], payload[1], signature[2]].join(".");
                assert_eq!(is_believed(mixed.as_bytes()), all.contains(&mixed), "{one} {two} {three}");
            }
        }
    }
}

/// A change of a text.
#[derive(Clone, Debug)]
enum Change {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Splice(prop::sample::Index, usize),
    Truncate(prop::sample::Index),
}

impl Change {
    fn apply(&self, text: &mut Vec<u8>, others: &[Vec<u8>]) {
        if text.is_empty() {
            return;
        }
        match self {
            Self::Replace(place, byte) => {
                let place = place.index(text.len());
                text[place] = *byte;
            }
            Self::Insert(place, bytes) => {
                let place = place.index(text.len() + 1);
                text.splice(place..place, bytes.iter().copied());
            }
            Self::Remove(place, count) => {
                let place = place.index(text.len());
                text.drain(place..text.len().min(place + count));
            }
            Self::Copy(from, to, count) => {
                let (from, to) = (from.index(text.len()), to.index(text.len()));
                let piece = text[from..text.len().min(from + count)].to_vec();
                text.splice(to..to, piece);
            }
            Self::Splice(place, other) => {
                let place = place.index(text.len());
                let other = &others[other % others.len()];
                text.truncate(place);
                text.extend(&other[place.min(other.len())..]);
            }
            Self::Truncate(place) => text.truncate(place.index(text.len())),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    let letter = prop_oneof![
        4 => prop::sample::select(b"ABCXYZabcxyz019-_.=".to_vec()),
        2 => prop::sample::select(b"{}[]\",:\\u0+-eE \x00\x1f\x7f\xc3\xff".to_vec()),
        1 => any::<u8>(),
    ];
    prop_oneof![
        4 => (place(), letter.clone()).prop_map(|(place, letter)| Change::Replace(place, letter)),
        2 => (place(), prop::collection::vec(letter, 1..8)).prop_map(|(place, letters)| Change::Insert(place, letters)),
        2 => (place(), 1..40_usize).prop_map(|(place, count)| Change::Remove(place, count)),
        1 => (place(), place(), 1..300_usize).prop_map(|(from, to, count)| Change::Copy(from, to, count)),
        1 => (place(), any::<usize>()).prop_map(|(place, other)| Change::Splice(place, other)),
        1 => place().prop_map(Change::Truncate),
    ]
}

/// Where changes are made: the whole token, or one of its parts before it is encoded (0 header, 1 payload, 2 signature).
fn mutated(token: &[u8], part: usize, changes: &[Change], others: &[Vec<u8>]) -> Vec<u8> {
    if part > 2 {
        let mut text = token.to_vec();
        changes.iter().for_each(|change| change.apply(&mut text, others));
        return text;
    }
    let text = std::str::from_utf8(token).unwrap();
    let mut parts: Vec<Vec<u8>> = text.split('.').map(decoded).collect();
    let others: Vec<Vec<u8>> =
        others.iter().map(|other| decoded(std::str::from_utf8(other).unwrap().split('.').nth(part).unwrap())).collect();
    changes.iter().for_each(|change| change.apply(&mut parts[part], &others));
    parts.iter().map(token_world::base64).collect::<Vec<_>>().join(".").into_bytes()
}

#[test]
fn random_mutations_never_panic_and_are_never_believed() {
    let goods: Vec<Vec<u8>> = [user(), user_v1(), app(), okta()]
        .iter()
        .flat_map(|claims| {
            let text = claims.to_string();
            [WORLD.rsa.sign(HEADER, &text), WORLD.p256.sign(r#"{"alg":"ES256","kid":"p256"}"#, &text)]
        })
        .map(String::into_bytes)
        .collect();
    let seconds = env::var("PORTCULLIS_TOKEN_MUTATIONS").ok().map(|seconds| seconds.parse::<u64>().unwrap());
    let began = Instant::now();
    let config = ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    let case = (0..goods.len(), 0..4_usize, prop::collection::vec(change(), 1..6));
    let (mut count, mut words) = (0_u64, BTreeMap::<&str, u64>::new());
    loop {
        let seed = if seconds.is_some() { RandomState::new().hash_one(count) } else { 1 };
        let bytes: Vec<u8> = (0..4_u64).flat_map(|part| (seed ^ part).to_le_bytes()).collect();
        let random = proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &bytes);
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(config.clone(), random);
        let tally = std::cell::RefCell::new(&mut words);
        let judged = runner.run(&case, |(number, part, changes)| {
            let text = mutated(&goods[number], part, &changes, &goods);
            let Ok(token) = std::str::from_utf8(&text) else { return Ok(()) };
            let known = goods.contains(&text);
            let verdict = WORLD.verify(token);
            prop_assert_eq!(verdict.is_ok(), known, "{}", token);
            let word = verdict.err().map_or("unchanged", |refusal| fault_of(&refusal).map_or("-", Fault::word));
            *tally.borrow_mut().entry(word).or_default() += 1;
            Ok(())
        });
        judged.unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
        count += u64::from(config.cases);
        if seconds.is_none_or(|seconds| began.elapsed() >= Duration::from_secs(seconds)) {
            break;
        }
    }
    println!("{count} mutations in {:.0} s: {words:?}", began.elapsed().as_secs_f64());
    assert!(words.len() > 10, "the mutations reach many checks: {words:?}");
}

/// What the same verifier says with and without a memory, and with one of a thread's own in front.
struct Twins {
    remembering: Verifier,
    local: LocalVerifier,
    forgetful: Verifier,
}

impl Twins {
    fn new() -> Self {
        // A memory of four tokens is always too small, one without room forgets at once.
        // The bytes that the thread's own may take are the room of two.
        let behind = Arc::new(Verifier::new(issuers(), RULES, 16));
        Self {
            remembering: Verifier::new(issuers(), RULES, 4),
            local: LocalVerifier::new(behind),
            forgetful: Verifier::new(issuers(), RULES, 0),
        }
    }

    fn agree(&self, token: &str, ring: &KeyRing, now: u64) -> Result<(), TestCaseError> {
        let forgetful = told(&self.forgetful.verify(token, ring, now));
        prop_assert_eq!(&told(&self.remembering.verify(token, ring, now)), &forgetful, "{} at {}", token, now);
        if let Some(recalled) = self.local.recall(token.as_bytes(), ring, now) {
            prop_assert_eq!(&told(&recalled), &forgetful, "{} recalled at {}", token, now);
        }
        prop_assert_eq!(&told(&self.local.verify(token, ring, now)), &forgetful, "{} locally at {}", token, now);
        Ok(())
    }
}

fn told(verdict: &Result<Arc<Verified>, TokenFault>) -> String {
    format!("{verdict:?}")
}

/// Tokens, good and bad, and rings of keys under which they are good or bad.
static SCENES: LazyLock<(Vec<String>, Vec<KeyRing>)> = LazyLock::new(|| {
    let (world, other) = (&*WORLD, Signer::rsa());
    let late = |by: u64| with(with(user(), "exp", json!(NOW + by)), "nbf", json!(NOW + by - 100));
    let claims: [Value; 7] = [user(), user_v1(), app(), late(50), late(150), late(1000), without_times()];
    let mut tokens: Vec<String> = claims.iter().map(|claims| world.token(claims)).collect();
    tokens.extend(tokens_of_others(world, &other));
    let set = |entries: &[Value]| token_world::set(entries);
    let both = |keys: &[Value]| KeyRing::empty(4).with(OF_V1, set(keys), NOW).with(OF_V2, set(keys), NOW);
    let rings = vec![
        world.ring.clone(),
        both(&[world.rsa.jwk("rsa")]),
        both(&[other.jwk("rsa")]),
        both(&[world.p256.jwk("p256")]),
        both(&[with(world.rsa.jwk("rsa"), "issuer", json!("https://x"))]),
        world.ring.without(OF_V2),
        KeyRing::empty(4),
    ];
    (tokens, rings)
});

fn without_times() -> Value {
    token_world::without(user(), "exp")
}

fn tokens_of_others(world: &World, other: &Signer) -> Vec<String> {
    let payload = user().to_string();
    let good = world.token(&user());
    let [_, ecdsa] = tokens(world);
    vec![
        other.sign(HEADER, &payload),
        ecdsa,
        assembled(HEADER, &payload, &[1; 256]),
        good.replacen('.', "..", 1),
        format!("{good}="),
        String::new(),
        world.rsa.sign(r#"{"alg":"RS256","kid":"unknown"}"#, &payload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_verdict_never_depends_on_what_was_verified_before(
        steps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_usize), 1..60)
    ) {
        let (tokens, rings) = &*SCENES;
        let twins = Twins::new();
        let mut ring = &rings[0];
        for (token, keys, step) in steps {
            // Mostly the same keys, so that there is something to remember; clocks go back and forth.
            if step == 0 {
                ring = &rings[keys.index(rings.len())];
            }
            let now = [NOW, NOW, NOW, NOW + 61, NOW - 361, NOW + 3659, NOW + 3660, NOW + 150][step];
            twins.agree(&tokens[token.index(tokens.len())], ring, now)?;
        }
    }
}
