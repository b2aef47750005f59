//! The head of a request as it was judged, kept while its exchange runs. Few are ever looked at again, so it is written
//! down in one piece of memory, which holds on to no buffer of the connection; what goes on to the upstream is the head that
//! came, in the memory that it has.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Uri, Version};

use super::{ExtendedConnect, Refusal, websocket};
use crate::model::Reason;

/// A head that can be judged again.
pub(super) struct Kept {
    method: Method,
    target: Uri,
    version: Version,
    is_extended_connect: bool,
    /// For each field the lengths of its name and of its value, as 32 bits each, and both; values of one name in the order in
    /// which they came.
    fields: Vec<u8>,
}

/// The bytes of the lengths of a field.
const LENGTHS: usize = size_of::<u64>();

impl Kept {
    /// Keeps a head; `target` is the one that was judged, where the head has another by now.
    pub(super) fn of(head: &Parts, target: Option<Uri>) -> Self {
        let texts = || head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let size = texts().map(|(name, value)| LENGTHS + name.len() + value.len()).sum();
        let mut fields = Vec::with_capacity(size);
        // No field is longer than its length can say. One that was would not be restored.
        let length = |text: &[u8]| u64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
        for (name, value) in texts() {
            fields.extend_from_slice(&(length(name) << 32 | length(value)).to_le_bytes());
            fields.extend_from_slice(name);
            fields.extend_from_slice(value);
        }
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
    ///
    /// # Errors
    /// A defect of the gateway: what was kept is no head.
    pub(super) fn restored(&self) -> Result<Parts, Refusal> {
        let mut head = Request::new(()).into_parts().0;
        head.method.clone_from(&self.method);
        head.uri.clone_from(&self.target);
        head.version = self.version;
        head.headers = self.headers().ok_or_else(|| Refusal::of(Reason::Internal))?;
        if self.is_extended_connect {
            head.extensions.insert(ExtendedConnect);
        }
        Ok(head)
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut rest = &*self.fields;
        while !rest.is_empty() {
            let (lengths, behind) = rest.split_first_chunk()?;
            let lengths = u64::from_le_bytes(*lengths);
            let (name, behind) = behind.split_at_checked((lengths >> 32) as usize)?;
            let (value, behind) = behind.split_at_checked((lengths as u32) as usize)?;
            headers.try_append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?).ok()?;
            rest = behind;
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_kept_head_is_restored_as_it_was(
            fields in proptest::collection::vec(("accept|Cookie|x-a|x-B|host", "[\t -~\u{80}-\u{ff}]{0,8}"), 0..20),
            method in "GET|POST|BREW",
            target in "/[a-z]{0,8}(\\?[a-z]{0,3})?",
            extended: bool,
        ) {
            let mut request = Request::builder().method(method.as_str()).uri(target).version(Version::HTTP_2);
            for (name, value) in &fields {
                // Bytes beyond ASCII as some write them.
                let value: Vec<u8> = value.chars().map(|letter| letter as u8).collect();
                request = request.header(name.as_str(), HeaderValue::from_bytes(&value).unwrap());
            }
            let mut head = request.body(()).unwrap().into_parts().0;
            if extended {
                head.extensions.insert(ExtendedConnect);
            }
            let restored = Kept::of(&head, None).restored().unwrap();
            prop_assert_eq!(&restored.headers, &head.headers);
            prop_assert_eq!((&restored.method, &restored.uri, restored.version), (&head.method, &head.uri, head.version));
            prop_assert_eq!(websocket::is_extended_connect(&restored), extended);
            let earlier = Kept::of(&head, Some(Uri::from_static("/judged"))).restored().unwrap();
            prop_assert_eq!(earlier.uri, "/judged");
        }

        #[test]
        fn what_is_no_head_is_never_restored_as_one(fields in proptest::collection::vec(any::<u8>(), 1..40)) {
            let kept = Kept { fields, ..Kept::nothing() };
            // The one way in which any bytes are a head is to be the bytes that it is kept in.
            if let Ok(head) = kept.restored() {
                prop_assert_eq!(Kept::of(&head, None).restored().unwrap().headers, head.headers);
            }
        }
    }
}
