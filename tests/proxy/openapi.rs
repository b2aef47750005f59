//! `/openapi.json` says what the pages of the operators' listener answer: live answers of all of them are held against it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::backend::{Backend, until};
use crate::gateway::{ADMIN_TOKEN, Gateway, Setup, token};
use crate::wire::{Answer, Client, get};

/// What a value has against a schema: a subset of JSON Schema 2020-12, all that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let fault = |what: String| vec![format!("{at}: {what}")];
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return faults(document, document.pointer(name.trim_start_matches('#')).unwrap(), value, at);
    }
    if let Some(Value::Array(choices)) = schema.get("anyOf") {
        let each: Vec<_> = choices.iter().map(|choice| faults(document, choice, value, at)).collect();
        let fits = each.iter().any(Vec::is_empty);
        return if fits { Vec::new() } else { each.into_iter().next().unwrap() };
    }
    let mut found = Vec::new();
    for (word, said) in schema.as_object().unwrap() {
        match word.as_str() {
            "description" => {}
            "const" if value != said => found.extend(fault(format!("{value} is not {said}"))),
            "enum" if !said.as_array().unwrap().contains(value) => found.extend(fault(format!("{value} of {said}"))),
            "const" | "enum" => {}
            "type" => {
                let types = if said.is_string() { vec![said.clone()] } else { said.as_array().unwrap().clone() };
                let is = |name: &Value| match name.as_str().unwrap() {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("{other}"),
                };
                if !types.iter().any(is) {
                    found.extend(fault(format!("{value} is no {said}")));
                }
            }
            "minimum" => {
                if value.as_i64().is_some_and(|number| number < said.as_i64().unwrap()) {
                    found.extend(fault(format!("{value} is below {said}")));
                }
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                found.extend(items.flat_map(|(index, item)| faults(document, said, item, &format!("{at}/{index}"))));
            }
            "required" => {
                for name in said.as_array().unwrap().iter().filter_map(Value::as_str) {
                    if value.is_object() && value.get(name).is_none() {
                        found.extend(fault(format!("`{name}` is missing")));
                    }
                }
            }
            "properties" | "additionalProperties" => {}
            other => panic!("the checker does not know `{other}`, at {at}"),
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        match (schema.pointer(&format!("/properties/{name}")), schema.get("additionalProperties")) {
            (Some(own), _) => found.extend(faults(document, own, member, &at)),
            (None, Some(Value::Bool(false))) => found.push(format!("{at}: is not in the schema")),
            (None, Some(others @ Value::Object(_))) => found.extend(faults(document, others, member, &at)),
            (None, _) => {}
        }
    }
    found
}

/// Calls pages, and holds each answer against the document.
struct Reader<'g> {
    gateway: &'g Gateway,
    document: Value,
    /// Which answers were seen.
    seen: BTreeSet<(String, String, u16)>,
}

impl Reader<'_> {
    fn call(&mut self, method: &str, page: &str, body: &str, expected: u16) -> Value {
        let answer = self.ask(method, page, body, &format!("Authorization: Bearer {ADMIN_TOKEN}\r\n"));
        self.holds(method, page, &answer, expected)
    }

    fn ask(&self, method: &str, page: &str, body: &str, lines: &str) -> Answer {
        let length = body.len();
        let request = format!("{method} {page} HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {length}\r\n\r\n{body}");
        let mut last = None;
        until(
            || {
                last = Some(Client::plain(self.gateway.admin).ask(&request));
                last.as_ref().is_some_and(|answer| answer.status != 429)
            },
            "an answer",
        );
        last.unwrap()
    }

    fn holds(&mut self, method: &str, page: &str, answer: &Answer, expected: u16) -> Value {
        let path = page.split('?').next().unwrap();
        assert_eq!(answer.status, expected, "{method} {page}: {}", answer.text());
        let call = &self.document["paths"][path][method.to_lowercase()];
        let mut response = &call["responses"][expected.to_string()];
        if let Some(name) = response.get("$ref").and_then(Value::as_str) {
            response = self.document.pointer(name.trim_start_matches('#')).unwrap();
        }
        let (content, media) = response["content"].as_object().unwrap().iter().next().unwrap();
        assert!(answer.header("content-type").unwrap().starts_with(content), "{page} {content}");
        for name in response.get("headers").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name) {
            assert!(answer.header(&name.to_lowercase()).is_some(), "{page}: {name}");
        }
        let body = if content.contains("json") { answer.json() } else { Value::from(answer.text()) };
        let faults = faults(&self.document, &media["schema"], &body, "");
        assert!(faults.is_empty(), "{method} {page} {expected}: {faults:#?}\n{body:#}");
        self.seen.insert((method.to_lowercase(), path.to_owned(), expected));
        body
    }
}

#[test]
fn live_answers_of_all_pages_are_as_it_says() {
    let backend = Backend::hello();
    let mut setup = Setup::before(&backend);
    setup.more = "revoked: {store: store.yaml}\nshadow: {candidates: candidates}\n".to_owned();
    let gateway = setup.start();
    gateway.ask(get("/things/1", &token("olga")));
    let document = gateway.admin("GET", "/openapi.json", "").json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut reader = Reader { gateway: &gateway, document, seen: BTreeSet::new() };
    for page in ["/livez", "/readyz", "/metrics", "/version", "/status", "/.well-known/jwks.json", "/openapi.json"] {
        reader.call("GET", page, "", 200);
    }
    let principal = "{\"principal\": {\"tenant\": \"home\", \"oid\": \"00000000-0000-0000-0000-000000000009\"}}";
    for (method, page, body, expected) in [
        ("POST", "/revoked", principal, 200),
        ("POST", "/revoked", "{\"uti\": \"x\", \"tenant\": \"home\"}", 200),
        ("POST", "/revoked", "no json", 400),
        ("POST", "/revoked", "{\"uti\": \"x\", \"bogus\": 1}", 422),
        ("GET", "/revoked", "", 200),
        ("DELETE", "/revoked", principal, 200),
        ("DELETE", "/revoked", principal, 404),
        ("POST", "/reload", "", 200),
        ("POST", "/reload?dry_run=true", "", 200),
        ("POST", "/reload?force=true", "", 400),
        ("GET", "/explain?method=GET&host=app.test&path=/places/south&principal=olga", "", 200),
        ("GET", "/explain?method=GET&host=app.test&path=/things/1&principal=ina", "", 200),
        ("GET", "/explain?method=GET&host=app.test&path=/staff&principal=vera&setting=x%3D1", "", 400),
        ("GET", "/explain?method=GET&host=nowhere.test&path=/", "", 200),
        ("GET", "/explain", "", 400),
        ("GET", "/report?report=modules", "", 200),
        ("GET", "/report?report=scopes", "", 200),
        ("GET", "/report?report=objects", "", 200),
        ("GET", "/report?report=principal&principal=olga", "", 200),
        ("GET", "/report?report=right&right=places", "", 200),
        ("GET", "/report", "", 400),
    ] {
        reader.call(method, page, body, expected);
    }
    // An edit that is live, one with a fault, one that the gate holds.
    let routes = std::fs::read_to_string(gateway.file("routes.yaml")).unwrap();
    gateway.replace("routes.yaml", &routes.replace("gate_only: true", "public: true"));
    let held = reader.call("POST", "/reload", "", 409);
    assert!(held["changes"]["opened"][0]["public"] == json!(true), "{held}");
    let tried = reader.call("POST", "/reload?dry_run=true", "", 200);
    assert_eq!(tried["verdict"], "hold");
    reader.call("GET", "/report?report=modules", "", 409);
    reader.call("GET", "/explain?method=GET&host=app.test&path=/", "", 409);
    gateway.replace("routes.yaml", "version: 1\nbogus: 1\n");
    reader.call("POST", "/reload", "", 422);
    reader.call("GET", "/readyz", "", 200);
    gateway.replace("routes.yaml", &format!("{routes}# edited\n"));
    // The watcher may have been faster.
    reader.call("POST", "/reload", "", 200);
    reader.call("POST", "/reload?force=true&reason=x", "", 200);
    reader.call("GET", "/status", "", 200);
    reader.call("GET", "/history", "", 200);
    reader.call("POST", "/rollback?dry_run=true", "", 200);
    reader.call("POST", "/rollback?serial=99", "", 404);
    reader.call("POST", "/rollback?serial=x", "", 400);
    reader.call("POST", "/rollback?reason=it+hurts", "", 200);
    reader.call("POST", "/reload", "", 200);
    reader.call("POST", "/rollback?serial=1", "", 200);
    for page in ["/history", "/status", "/readyz"] {
        let said = reader.call("GET", page, "", 200).to_string();
        assert!(said.contains("\"rolled_back\":"), "{page}: {said}");
    }
    // A candidate that differs, one that is broken, and none.
    let grants = std::fs::read_to_string(gateway.file("grants.yaml")).unwrap();
    for (name, routes) in
        [("next", &*routes.replace("gate_only: true", "public: true")), ("broken", "version: 1\nbogus: 1\n")]
    {
        std::fs::create_dir_all(gateway.file("candidates").join(name)).unwrap();
        std::fs::write(gateway.file("candidates").join(name).join("routes.yaml"), routes).unwrap();
        std::fs::write(gateway.file("candidates").join(name).join("grants.yaml"), &grants).unwrap();
    }
    for (method, page, expected) in [
        ("GET", "/shadow", 200),
        ("POST", "/shadow?candidate=next", 200),
        ("POST", "/shadow?candidate=broken", 422),
        ("POST", "/shadow?candidate=nothing", 404),
        ("POST", "/shadow?candidate=../next", 400),
        ("POST", "/shadow", 400),
    ] {
        reader.call(method, page, "", expected);
    }
    gateway.ask(get("/lobby", ""));
    until(|| reader.call("GET", "/shadow", "", 200)["allowed"][0]["requests"] == json!(1), "judged");
    for (method, page, expected) in [
        ("GET", "/shadow?x=1", 400),
        ("DELETE", "/shadow?x=1", 400),
        ("DELETE", "/shadow", 200),
        ("GET", "/shadow", 200),
    ] {
        reader.call(method, page, "", expected);
    }
    for (method, page) in [
        ("POST", "/reload"),
        ("GET", "/revoked"),
        ("POST", "/revoked"),
        ("DELETE", "/revoked"),
        ("GET", "/explain"),
        ("GET", "/report"),
        ("GET", "/history"),
        ("POST", "/rollback"),
        ("GET", "/shadow"),
        ("POST", "/shadow"),
        ("DELETE", "/shadow"),
    ] {
        let answer = reader.ask(method, page, "", "");
        reader.holds(method, page, &answer, 401);
    }
    for _ in 0..100 {
        let answer = gateway.admin("GET", "/report", "");
        if answer.status == 429 {
            reader.holds("GET", "/report", &answer, 429);
            break;
        }
    }
    assert!(reader.seen.contains(&("get".to_owned(), "/report".to_owned(), 429)), "no bound");
    // Each page by each of its methods, and each with what it answers when all is well.
    let paths = reader.document["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            assert!(reader.seen.contains(&(method.clone(), path.clone(), 200)), "{method} {path}");
        }
    }
}

#[test]
fn the_checker_finds_what_differs() {
    let document = json!({"components": {"schemas": {"N": {"type": "integer", "minimum": 0}}}});
    let schema = json!({
        "type": "object",
        "properties": {"n": {"$ref": "#/components/schemas/N"}, "list": {"type": "array", "items": {"enum": ["a"]}},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["n"],
        "additionalProperties": false,
    });
    for (value, fits) in [
        (json!({"n": 1, "list": ["a"], "maybe": null}), true),
        (json!({"n": -1}), false),
        (json!({"n": "1"}), false),
        (json!({}), false),
        (json!({"n": 1, "more": 1}), false),
        (json!({"n": 1, "list": ["b"]}), false),
        (json!({"n": 1, "maybe": 1}), false),
        (json!([]), false),
    ] {
        assert_eq!(faults(&document, &schema, &value, "").is_empty(), fits, "{value}");
    }
}
