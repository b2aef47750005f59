//! regorus: grants as nested objects, found by key, in one document of data; the policy compiled to its bytecode, or
//! compiled for its interpreter.

use std::collections::BTreeMap;
use std::sync::Arc;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::{CompiledPolicy, PolicyModule, Value, compile_policy_with_entrypoint};
use serde_json::json;

use super::Engine;
use crate::world::{Case, Level, TERRITORIES, World, land};

const ALLOW: &str = "data.authz.allow";
const POLICY: &str = r"
package authz

import rego.v1

default allow := false

allow if {
    granted
    not denied
}

user := data.users[input.user]

places := [input.territory, data.lands[input.territory]]

granted if {
    some place in places
    user.grants[input.right][place] >= input.level
}

granted if {
    some group in user.groups
    some place in places
    data.groups[group].grants[input.right][place] >= input.level
}

denied if {
    some group in user.groups
    some place in places
    data.groups[group].denials[input.right][place]
}
";

/// The virtual machine for bytecode.
pub struct Bytecode {
    machine: RegoVM,
    inputs: Arc<Vec<Value>>,
}

/// The interpreter.
pub struct Interpreter {
    policy: CompiledPolicy,
    inputs: Arc<Vec<Value>>,
}

/// Both, over one document of data.
pub fn both(world: &World, cases: &[Case]) -> (Bytecode, Interpreter) {
    let inputs = cases.iter().map(|case| {
        value(&json!({
            "user": format!("p{}", case.principal), "right": format!("right{}", case.right),
            "territory": format!("T{}", case.territory), "level": number(case.level),
        }))
    });
    let inputs: Arc<Vec<Value>> = Arc::new(inputs.collect());
    let data = data(world);
    let module = PolicyModule { id: "authz.rego".into(), content: POLICY.into() };
    let policy = compile_policy_with_entrypoint(data.clone(), &[module], ALLOW.into()).unwrap();
    let mut machine = RegoVM::new();
    machine.load_program(Compiler::compile_from_policy(&policy, &[ALLOW]).unwrap());
    machine.set_data(data).unwrap();
    (Bytecode { machine, inputs: Arc::clone(&inputs) }, Interpreter { policy, inputs })
}

impl Engine for Bytecode {
    fn name(&self) -> &'static str {
        "regorus, bytecode"
    }

    fn allows(&mut self, case: usize) -> bool {
        self.machine.set_input(self.inputs[case].clone());
        self.machine.execute().unwrap() == Value::Bool(true)
    }
}

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "regorus, interpreter"
    }

    fn allows(&mut self, case: usize) -> bool {
        self.policy.eval_with_input(self.inputs[case].clone()).unwrap() == Value::Bool(true)
    }
}

fn value(json: &serde_json::Value) -> Value {
    Value::from_json_str(&json.to_string()).unwrap()
}

const fn number(level: Level) -> u8 {
    level as u8 + 1
}

fn data(world: &World) -> Value {
    let users = world.principals.iter().enumerate().map(|(number_of, principal)| {
        let mut grants: BTreeMap<String, BTreeMap<String, u8>> = BTreeMap::new();
        // Ascending, so that the higher level of a right at a territory stays.
        for grant in &principal.grants {
            let places = grants.entry(format!("right{}", grant.right)).or_default();
            places.insert(format!("T{}", grant.territory), number(grant.level));
        }
        let groups: Vec<String> = principal.groups.iter().map(|group| format!("G{group}")).collect();
        (format!("p{number_of}"), json!({"grants": grants, "groups": groups}))
    });
    let groups = world.groups.iter().enumerate().map(|(number_of, group)| {
        let right = format!("right{}", group.right);
        let land = format!("L{}", group.land);
        let said = match group.level {
            None => json!({"denials": {right: {land: true}}}),
            Some(level) => json!({"grants": {right: {land: number(level)}}}),
        };
        (format!("G{number_of}"), said)
    });
    let lands = (0..TERRITORIES).map(|territory| (format!("T{territory}"), json!(format!("L{}", land(territory)))));
    value(&json!({
        "users": users.collect::<serde_json::Map<_, _>>(),
        "groups": groups.collect::<serde_json::Map<_, _>>(),
        "lands": lands.collect::<serde_json::Map<_, _>>(),
    }))
}
