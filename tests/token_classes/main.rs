//! Hostile tokens by class, each with the fault that it gets, and good ones as Entra ID really varies them. Every fault
//! that the verifier knows is produced here.

#[path = "../support/identity_provider.rs"]
mod identity_provider;
#[path = "../support/token_world.rs"]
mod token_world;

mod claims;
mod forgery;
mod good;
mod header;
mod keys;
mod number;
mod structure;

use std::collections::HashSet;
use std::sync::LazyLock;

use portcullis::token::{Fault, KeyRing};

use token_world::{NOW, World, fault_of};

/// A token that is not believed.
pub struct Row {
    what: String,
    token: String,
    /// Other keys than those of the world.
    ring: Option<KeyRing>,
    fault: Fault,
}

/// A token that is not believed with the keys of the world.
pub fn row(what: impl Into<String>, token: String, fault: Fault) -> Row {
    Row { what: what.into(), token, ring: None, fault }
}

/// What makes the rows of one class.
type Class = fn(&World) -> Vec<Row>;

/// All classes, the names those of the field.
const CLASSES: [(&str, Class); 20] = [
    ("algorithms", header::algorithms),
    ("members that change the reading", header::extensions),
    ("embedded keys", header::embedded_keys),
    ("key ids", header::key_ids),
    ("types", header::types),
    ("header JSON", header::json),
    ("base64url", structure::base64url),
    ("structure", structure::structure),
    ("sizes", structure::sizes),
    ("payload JSON", structure::payload_json),
    ("duplicate names", structure::duplicate_names),
    ("time", claims::time),
    ("issuer", claims::issuer),
    ("tenant and version", claims::tenant),
    ("audience", claims::audience),
    ("subject and class", claims::subject),
    ("other claims", claims::others),
    ("RSA signatures", forgery::rsa),
    ("ECDSA signatures", forgery::ecdsa),
    ("key documents", keys::poisoned),
];

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// Whether each row of a class gets its fault, and gets it again.
fn check(name: &str) {
    let (_, class) = CLASSES.iter().find(|(known, _)| *known == name).unwrap();
    let mut wrong = Vec::new();
    for row in class(&WORLD) {
        let ring = row.ring.as_ref().unwrap_or(&WORLD.ring);
        for _ in 0..2 {
            let found = WORLD.verifier.verify(&row.token, ring, NOW);
            let fault = found.as_ref().err().and_then(fault_of);
            if fault != Some(row.fault) {
                let found = fault.map_or("believed", Fault::word);
                wrong.push(format!("{}: {found}, not {}", row.what, row.fault.word()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

macro_rules! classes {
    ($($test:ident $class:literal)*) => {
        $(
            #[test]
            fn $test() {
                check($class);
            }
        )*

        #[test]
        fn each_class_has_its_test() {
            let tested: HashSet<&str> = [$($class),*].into();
            assert_eq!(tested, CLASSES.iter().map(|(name, _)| *name).collect());
        }
    };
}

classes! {
    only_configured_algorithms_of_the_keys_own_type_are_used "algorithms"
    members_that_change_how_a_token_is_read_are_refused "members that change the reading"
    keys_that_a_token_brings_or_points_to_are_not_used "embedded keys"
    a_key_id_names_one_of_the_issuers_keys_and_nothing_else "key ids"
    other_types_of_token_are_refused "types"
    headers_are_read_strictly "header JSON"
    each_part_has_one_spelling "base64url"
    a_token_is_three_parts_in_compact_form "structure"
    sizes_are_bounded "sizes"
    payloads_are_read_strictly "payload JSON"
    no_name_stands_twice "duplicate names"
    times_are_whole_seconds_that_fit_together_and_include_now "time"
    an_issuer_is_one_exact_text "issuer"
    tenant_and_version_are_those_of_the_issuer "tenant and version"
    an_audience_is_one_that_key_and_issuer_may_have "audience"
    only_access_tokens_of_a_named_caller_are_believed "subject and class"
    every_claim_that_is_used_has_its_type "other claims"
    forged_rsa_signatures_are_refused "RSA signatures"
    forged_ecdsa_signatures_are_refused "ECDSA signatures"
    poisoned_key_documents_make_no_token_good "key documents"
}

#[test]
fn every_fault_is_produced_by_some_row() {
    let rows: Vec<Row> = CLASSES.iter().flat_map(|(_, class)| class(&WORLD)).collect();
    let produced: HashSet<Fault> = rows.iter().map(|row| row.fault).collect();
    // Whoever holds a good token may be revoked: that is for the caller of the verifier to say.
    let missing = Fault::ALL.iter().filter(|fault| **fault != Fault::Revoked && !produced.contains(fault));
    assert_eq!(missing.map(|fault| fault.word()).collect::<Vec<_>>(), [""; 0]);
    println!("{} hostile tokens", rows.len());
    assert!(rows.len() >= 500, "only {} hostile tokens", rows.len());
    let distinct: HashSet<&str> = rows.iter().map(|row| row.what.as_str()).collect();
    assert_eq!(distinct.len(), rows.len(), "each row says what it is");
}
