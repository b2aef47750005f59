//! Objects: those that a document knows, and the kinds of those that are looked up. No kind is both.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Builder, scalars};
use crate::diag::Report;
use crate::document::grants::GrantsDocument;
use crate::policy::domain::{Attribute, AttributeId, Object};

impl Builder {
    pub(super) fn objects(&mut self, document: &GrantsDocument, report: &mut Report) {
        for looked_up in &document.looked_up {
            let kind = self.kind(&looked_up.kind);
            let attributes = looked_up.attributes.iter().map(|attribute| self.domain.attributes.intern(attribute));
            let attributes: BTreeSet<u32> = attributes.collect();
            Arc::make_mut(&mut self.carried).entry(kind).or_default().extend(&attributes);
            self.domain.looked_up.insert(kind, attributes);
        }
        for (name, attributes) in &document.objects {
            let Some((kind, key)) =
                name.value.split_once(':').filter(|(kind, key)| !kind.is_empty() && !key.is_empty())
            else {
                let message = format!("`{}` is no name for an object", name.value);
                report.error("bad_name", name.place, message).help("write `KIND:KEY`, such as `officer:1001`");
                continue;
            };
            let mut object = Object::default();
            if document.looked_up.iter().any(|looked_up| looked_up.kind == kind) {
                let message = format!("objects of kind `{kind}` are looked up in a database, so none may stand here");
                report
                    .error("ambiguous_object", name.place, message)
                    .help("remove it, or the kind from `objects` of `postgres` in gateway.yaml");
                continue;
            }
            let kind = self.kind(kind);
            for (attribute, value) in attributes {
                let id = AttributeId(self.domain.attributes.intern(&attribute.value));
                let texts = scalars(value).into_iter().map(String::into_boxed_str).collect();
                object.attributes.push((id, Attribute { value: value.clone(), texts }));
                self.note(kind, id.0, value, attribute.place);
            }
            Arc::make_mut(&mut self.carried)
                .entry(kind)
                .or_default()
                .extend(object.attributes.iter().map(|(id, _)| id.0));
            Arc::make_mut(&mut self.domain.folded_objects).entry(kind).or_default().insert(key);
            Arc::make_mut(&mut self.domain.objects).entry(kind).or_default().insert(key.into(), object);
        }
    }
}
