//! The tokens of those who make requests that are tried on a policy.

use std::sync::Arc;

use super::Policy;
use super::request::{BadRequest, Claims};
use crate::diag::suggest;
use crate::document::grants::PrincipalDocument;
use crate::model::Naming;
use crate::route::Application;
use crate::token::{Groups, IssuerId, Verified, Window};

impl Policy {
    /// What a verified token of somebody says at an application.
    ///
    /// # Errors
    /// When the policy knows nobody of this name, or no such tenant.
    pub fn bearer(
        &self,
        application: Option<&Arc<Application>>,
        id: &str,
        claims: &Claims,
    ) -> Result<Arc<Verified>, BadRequest> {
        let (tenant, subject, username) = match self.principal(application, id) {
            Some(principal) => {
                let text = principal.known_by.text();
                (principal.tenant.value.clone(), text.value.clone(), principal.id.value.clone())
            }
            None => {
                let (tenant, subject) = id.split_once('/').ok_or_else(|| self.stranger(id))?;
                (tenant.to_owned(), subject.to_owned(), "stranger".to_owned())
            }
        };
        self.token(application, (tenant, subject, username), claims)
    }

    /// What a verified token of a subject of a tenant says at an application.
    ///
    /// # Errors
    /// When there is no such tenant, or it names nobody so.
    pub(super) fn token(
        &self,
        application: Option<&Arc<Application>>,
        (tenant, subject, username): (String, String, String),
        claims: &Claims,
    ) -> Result<Arc<Verified>, BadRequest> {
        let name = claims.tenant.as_ref().unwrap_or(&tenant);
        let Some(tenant) = self.tenants.iter().find(|known| *known.name == **name) else {
            let near = suggest(name, self.tenants.iter().map(|known| &*known.name));
            let help = near.map(|near| format!("did you mean `{near}`?"));
            return Err(BadRequest::new(format!("gateway.yaml has no tenant `{name}`"), help));
        };
        let principal = tenant.principal(&subject).ok_or_else(|| {
            let help = "a tenant of Entra ID names principals by object id, a GUID; any other issuer by subject";
            BadRequest::new(format!("`{subject}` names nobody at `{name}`"), help.to_owned())
        })?;
        let subject = match tenant.naming {
            Naming::ObjectId => principal.object.to_string(),
            Naming::Subject(_) => subject,
        };
        let gate = application.map(|application| &application.gate);
        let boxed = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let audiences = match &claims.audiences {
            Some(audiences) => boxed(audiences),
            None => gate.and_then(|gate| gate.audiences.first()).cloned().into_iter().collect(),
        };
        let roles = match &claims.roles {
            Some(roles) => boxed(roles),
            None => gate.map(|gate| gate.app_roles.clone()).unwrap_or_default(),
        };
        let client = match &claims.client {
            Some(client) => Some(client.as_str().into()),
            None => gate.and_then(|gate| gate.clients.first()).map(|client| (**client).into()),
        };
        let class = claims.class.or(gate.and_then(|gate| gate.callers)).unwrap_or_default();
        Ok(Arc::new(Verified {
            issuer: IssuerId(0),
            tenant: Arc::clone(&tenant.name),
            principal,
            audiences,
            roles,
            username: Some(username.into()),
            subject: subject.into(),
            class,
            client,
            groups: claims.groups.clone().unwrap_or_else(|| Groups::listed(&[])),
            token_id: None,
            issued_at: 0,
            takes_challenges: false,
            window: Window { not_before: 0, issued: 0, until: u64::MAX },
        }))
    }

    /// The principal of this id: of the application's domain, or else of any.
    pub fn principal(&self, application: Option<&Arc<Application>>, id: &str) -> Option<&PrincipalDocument> {
        let own = application.and_then(|application| application.domain.of(&self.grants));
        let documents = own.into_iter().chain(&self.grants);
        documents.flat_map(|document| &document.principals).find(|principal| principal.id.value == id)
    }

    fn stranger(&self, id: &str) -> BadRequest {
        let known = self.grants.iter().flat_map(|document| &document.principals);
        let near = suggest(id, known.map(|principal| principal.id.value.as_str()));
        let help = near.map_or_else(
            || "name one of the grants, or `TENANT/OBJECT-ID` or `TENANT/SUBJECT` for somebody else".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        BadRequest::new(format!("no grants document has a principal `{id}`"), help)
    }
}
