//! Parameters of a page: known names only, each as often as it may stand there.

use std::borrow::Cow;

/// The parameters of one call.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. `once` are the names that may stand there once, `often` those that may come again.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn read(query: &str, once: &[&str], often: &[&str]) -> Result<Self, String> {
        let mut read: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let [name, value] = [name, value].map(|text| decoded(text).map(Cow::into_owned));
            let (Some(name), Some(value)) = (name, value) else {
                return Err("the query is not percent-encoded UTF-8".to_owned());
            };
            if value.contains(char::is_control) {
                return Err("a parameter has a control character".to_owned());
            }
            if once.contains(&name.as_str()) {
                if read.iter().any(|(known, _)| *known == name) {
                    return Err(format!("`{name}` stands there twice"));
                }
            } else if !often.contains(&name.as_str()) {
                let known = [once, often].concat();
                return Err(format!("the parameters of this page are {}", known.join(", ")));
            }
            read.push((name, value));
        }
        Ok(Self(read))
    }

    /// The value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn needed(&self, name: &str) -> Result<String, String> {
        self.value(name).ok_or_else(|| format!("`{name}` is missing"))
    }

    /// All values of a parameter.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    /// All values of a parameter, each a name and a value with a mark between, as they are sent.
    ///
    /// # Errors
    /// One of them has no mark.
    pub(super) fn pairs(&self, name: &str, mark: char) -> Result<Vec<(String, String)>, String> {
        let pair = |value: String| match value.split_once(mark) {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("`{name}` is written `NAME{mark}VALUE`")),
        };
        self.values(name).into_iter().map(pair).collect()
    }

    /// The same without the blanks around each, which say nothing in headers and settings.
    ///
    /// # Errors
    /// One of them has no mark.
    pub(super) fn trimmed_pairs(&self, name: &str, mark: char) -> Result<Vec<(String, String)>, String> {
        let trimmed = |(name, value): (String, String)| (name.trim().to_owned(), value.trim().to_owned());
        Ok(self.pairs(name, mark)?.into_iter().map(trimmed).collect())
    }
}

/// Undoes percent-encoding; a plus sign stands for a space.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains(['%', '+']) {
        return Some(value.into());
    }
    let mut bytes = value.bytes();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                16 * digit(bytes.next())? + digit(bytes.next())?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_by_their_names() {
        let query = Query::read("a=x+y%2Bz&often=N%3A%20v&often=m:w&b=", &["a", "b", "c"], &["often"]).unwrap();
        assert_eq!(query.needed("a").unwrap(), "x y+z");
        assert_eq!((query.value("b"), query.value("c")), (Some(String::new()), None));
        let pairs = [("N", "v"), ("m", "w")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(query.trimmed_pairs("often", ':').unwrap(), pairs);
        assert_eq!(query.pairs("often", ':').unwrap()[0].1, " v", "a blank of a form's field is part of it");
        assert!(query.needed("c").is_err() && query.pairs("often", '=').is_err());
    }

    #[test]
    fn what_is_not_known_or_cannot_be_read_is_refused() {
        for query in ["z=1", "a=1&a=2", "a=%2", "a=%ff", "a=%0a", "%61", "a=1&often=%00"] {
            let read = Query::read(query, &["a"], &["often"]);
            assert_eq!(read.is_err(), query != "%61", "{query}");
        }
    }
}
