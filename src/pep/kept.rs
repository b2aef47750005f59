//! The head of a request as it was judged, kept while its exchange runs. Few are ever looked at again, so it takes one piece
//! of memory; what goes on to the upstream is the head that came, with the memory that it has.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::{ExtendedConnect, websocket};

/// A head that can be judged again.
pub(super) struct Kept {
    method: Method,
    target: Uri,
    version: Version,
    is_extended_connect: bool,
    /// Values of one name stand in the order in which they came.
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Kept {
    /// Keeps a head; `target` is the one that was judged, where the head has another by now.
    pub(super) fn of(head: &Parts, target: Option<Uri>) -> Self {
        let mut fields = Vec::with_capacity(head.headers.len());
        fields.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self {
            method: head.method.clone(),
            target: target.unwrap_or_else(|| head.uri.clone()),
            version: head.version,
            is_extended_connect: websocket::is_extended_connect(head),
            fields,
        }
    }

    /// That of a request of which nothing is known.
    pub(super) fn nothing() -> Self {
        Self::of(&Request::new(()).into_parts().0, None)
    }

    /// The head as it was.
    pub(super) fn restored(&self) -> Parts {
        let mut head = Request::new(()).into_parts().0;
        head.method.clone_from(&self.method);
        head.uri.clone_from(&self.target);
        head.version = self.version;
        head.headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            head.headers.append(name, value.clone());
        }
        if self.is_extended_connect {
            head.extensions.insert(ExtendedConnect);
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_kept_head_is_restored_as_it_was(
            fields in proptest::collection::vec(("accept|cookie|x-a|x-b|host", "[ -~]{0,8}"), 0..20),
            method in "GET|POST|BREW",
            target in "/[a-z]{0,8}(\\?[a-z]{0,3})?",
            extended: bool,
        ) {
            let mut request = Request::builder().method(method.as_str()).uri(target).version(Version::HTTP_2);
            for (name, value) in &fields {
                request = request.header(name.as_str(), HeaderValue::from_str(value).unwrap());
            }
            let mut head = request.body(()).unwrap().into_parts().0;
            if extended {
                head.extensions.insert(ExtendedConnect);
            }
            let restored = Kept::of(&head, None).restored();
            prop_assert_eq!(&restored.headers, &head.headers);
            prop_assert_eq!((&restored.method, &restored.uri, restored.version), (&head.method, &head.uri, head.version));
            prop_assert_eq!(websocket::is_extended_connect(&restored), extended);
            let earlier = Kept::of(&head, Some(Uri::from_static("/judged"))).restored();
            prop_assert_eq!(earlier.uri, "/judged");
        }
    }
}
